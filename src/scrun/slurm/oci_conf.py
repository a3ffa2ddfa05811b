"""oci.conf(5): how the nodes run containers, as far as it concerns who asks them to.

The file lies beside slurm.conf, and is read on the submitting host; its patterns are expanded here as slurmstepd
expands them on the node, to name a container to the node's own runtime.
"""

from __future__ import annotations

import os

from scrun.errors import NodeRuntimeError, SlurmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_SLURM_CONF = "/etc/slurm/slurm.conf"


def path(environment: Mapping[str, str]) -> str:
    """Where oci.conf is: beside the slurm.conf that SLURM_CONF names, or the default one."""
    return os.path.join(os.path.dirname(environment.get("SLURM_CONF") or DEFAULT_SLURM_CONF), "oci.conf")


def check_slurm_conf(environment: Mapping[str, str]) -> None:
    """Refuse at once a SLURM_CONF that is no file to read: libslurm would look for it for a minute.

    Raises:
        SlurmError: it isn't.
    """
    where = environment.get("SLURM_CONF")
    if not where:
        return
    try:
        with open(where, "rb") as file:
            text = file.read(65536)
    except OSError as error:
        raise SlurmError(f"can't read the Slurm configuration {where}: {error.strerror}") from error
    if b"\0" in text:
        raise SlurmError(f"the Slurm configuration {where} is no text")


def read(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings, by their names in lower case.

    Raises:
        SlurmError: there is none, so no node can run a container; or it can't be read.
    """
    where = path(environment)
    try:
        with open(where, encoding="utf-8", errors="surrogateescape") as file:
            return parse(file.read())
    except FileNotFoundError:
        raise SlurmError(f"{where} does not exist: Slurm runs containers only where oci.conf(5) says how") from None
    except OSError as error:
        raise SlurmError(f"can't read {where}: {error.strerror}") from error


def spool_directory(environment: Mapping[str, str]) -> str:
    """Where slurmstepd mounts its own files in a container: oci.conf's MountSpoolDir, or slurm.conf's SlurmdSpoolDir.

    Up to its first %-letter, which only a node can tell.
    """
    where = read(environment).get("mountspooldir") or _slurm_conf(environment).get("slurmdspooldir")
    return os.path.dirname((where or _SPOOL).partition("%")[0] + "/")


_SPOOL = "/var/spool/slurmd"  # SlurmdSpoolDir, by slurm.conf(5)


def _slurm_conf(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings of the one file, without what it includes."""
    try:
        with open(
            environment.get("SLURM_CONF") or DEFAULT_SLURM_CONF, encoding="utf-8", errors="surrogateescape"
        ) as file:
            return parse(file.read())
    except OSError:
        return {}


def parse(text: str) -> dict[str, str]:
    """The ``Name=value`` lines of an oci.conf; values may be quoted, ``#`` starts a comment outside quotes."""
    settings: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        name = name.strip()
        if equals and name and not name.startswith("#"):
            settings[name.lower()] = _unquoted(value.strip())
    return settings


def _unquoted(value: str) -> str:
    if value[:1] in ("'", '"'):
        end = value.find(value[0], 1)
        if end > 0:
            return value[1:end]
    return value.partition("#")[0].strip()


def expand(pattern: str, values: Mapping[str, str]) -> str:
    """A pattern with its %-letters replaced, as oci.conf(5) lists them.

    Raises:
        NodeRuntimeError: a letter that only slurmstepd can know.
    """
    out = ""
    rest = pattern
    while rest:
        plain, percent, rest = rest.partition("%")
        out += plain
        if percent:
            letter, rest = rest[:1], rest[1:]
            if letter != "%" and letter not in values:
                raise NodeRuntimeError(f"oci.conf: {pattern!r}: %{letter} is known on the node only")
            out += "%" if letter == "%" else values[letter]
    return out


_RUNTIME = (("runtimequery", "state"), ("runtimekill", "kill"))  # the settings that tell how it is called, and a verb


def of_the_runtime(settings: Mapping[str, str]) -> dict[str, str]:
    """Those of the settings that :func:`runtime_command` reads."""
    return {key: settings[key] for key, _verb in _RUNTIME if key in settings}


def runtime_command(settings: Mapping[str, str], values: Mapping[str, str]) -> tuple[str, str]:
    """How the node's own runtime is called: the shell words before its verb, and the container's name there.

    Both come from RunTimeQuery or RunTimeKill, whose last word is the container's name.

    Raises:
        NodeRuntimeError: neither is set, or they aren't of that form.
    """
    for key, verb in _RUNTIME:
        program, found, rest = settings.get(key, "").partition(f" {verb} ")
        if found and rest.strip():
            return expand(program.strip(), values), expand(rest.split()[-1], values)
    raise NodeRuntimeError(
        "oci.conf names no runtime that can be asked on the node: set RunTimeQuery to e.g. "
        '"crun --rootless=true --root=/run/user/%U/ state %n.%u.%j.%s.%t"'
    )
