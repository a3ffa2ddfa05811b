"""Read oci.conf(5) on the submitting host: how the nodes run containers.

Comments may have settings of scrun's own (:data:`OURS`); see :mod:`scrun.slurm.conf_text`.
"""

from __future__ import annotations

from scrun.digits import is_number
from scrun.errors import SlurmError
from scrun.log import LEVELS
from scrun.slurm import conf_paths, conf_text, node_runtime
from scrun.slurm.parsers import network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, TypedDict

    class Settings(TypedDict, total=False):
        """The settings of an oci.conf, by their names in the manual page, and scrun's own (:data:`OURS`)."""

        ContainerPath: str
        MountSpoolDir: str
        SrunPath: str
        DebugFlags: str
        SrunArgs: list[str]
        RunTimeCreate: str
        RunTimeDelete: str
        RunTimeKill: str
        RunTimeQuery: str
        RunTimeRun: str
        RunTimeStart: str
        StdIODebug: str  # names of levels (log.LEVELS), as the next two
        SyslogDebug: str
        FileDebug: str
        EnvExclude: str
        RunTimeEnvExclude: str
        DisableCleanup: bool
        IgnoreFileConfigJson: bool
        CreateEnvFile: str
        DisableHooks: list[str]
        NodeRuntime: str
        NodeContainer: str
        History: str
        Net: str
        NetAllowed: list[str]


def _text(value: str) -> str:
    return value


def _boolean(value: str) -> bool:
    known = {"yes": True, "up": True, "true": True, "1": True, "no": False, "down": False, "false": False, "0": False}
    known |= {"y": True, "n": False}
    if value.lower() not in known:
        raise ValueError("true or false")
    return known[value.lower()]


def _env_file(value: str) -> str:
    forms = {"null": "null", "newline": "newline", "disabled": "disabled"}
    forms |= dict.fromkeys(("true", "y", "yes", "1"), "null") | dict.fromkeys(("false", "n", "no", "0"), "disabled")
    if value.lower() not in forms:
        raise ValueError("null, newline or disabled")
    return forms[value.lower()]


def _level(value: str) -> str:
    if is_number(value) and int(value) < len(LEVELS):
        return LEVELS[int(value)]
    if value.lower() not in LEVELS:
        raise ValueError(f"one of {', '.join(LEVELS)}")
    return value.lower()


def _expression(value: str) -> str:
    """Check the brackets of a regular expression only, because importing re would cost each create 5 ms.

    slurmd compiles the expression (regex(7)).
    """
    depth, position = 0, 0
    while position < len(value):
        character = value[position]
        if character == "\\":
            position += 1
        elif character == "[":
            first = position + 1 + (value[position + 1 : position + 2] == "^")
            position = value.find("]", first + 1)
            while position > 0 and value[position - 1] == ":" and value.rfind("[:", first, position) > first - 1:
                position = value.find("]", position + 1)  # skip the end of a class such as [:alnum:]
            if position < 0:
                raise ValueError("an extended regular expression: a [ without ]")
        depth += (character == "(") - (character == ")")
        position += 1
    if depth:
        raise ValueError("an extended regular expression: its brackets don't match")
    return value


def _hooks(value: str) -> list[str]:
    return [word.strip() for word in value.split(",") if word.strip()]


def _networks(value: str) -> list[str]:
    return [network(word) for word in _hooks(value)]


# The parsers of oci.conf(5)'s settings, by name.
KEYS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("ContainerPath", "MountSpoolDir", "SrunPath", "DebugFlags", "SrunArgs"), _text),
    **{f"RunTime{verb}": _text for verb in ("Create", "Delete", "Kill", "Query", "Run", "Start")},
    **dict.fromkeys(("StdIODebug", "SyslogDebug", "FileDebug"), _level),
    **dict.fromkeys(("EnvExclude", "RunTimeEnvExclude"), _expression),
    **dict.fromkeys(("DisableCleanup", "IgnoreFileConfigJson"), _boolean),
    "CreateEnvFile": _env_file,
    "DisableHooks": _hooks,
}
# "#scrun: NodeRuntime=..." tells how to call a node's runtime if the RunTime patterns don't; see node_runtime.
# Net is the SCRUN_NET of containers that say nothing, NetAllowed what they may say; see
# lifecycle.caller.network_choice.
# History tells where a record of ended containers is kept; see lifecycle.container.history.
OURS: dict[str, Callable[[str], Any]] = {
    "NodeRuntime": _text,
    "NodeContainer": _text,
    "History": _text,
    "Net": network,
    "NetAllowed": _networks,
}

_SPOOL_IS_ITS_OWN_PATH = (25, 5)  # the first release of Slurm whose slurmstepd mounts its files on their own path
_BY_LOWER = {name.lower(): (name, parse) for name, parse in {**KEYS, **OURS}.items()}


def check_slurm_conf(environment: Mapping[str, str]) -> None:
    """Check at once that SLURM_CONF is a readable file, because libslurm would look for a missing one for a minute.

    Raises:
        SlurmError: SLURM_CONF can't be read, or is no text.
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
        raise SlurmError(f"the Slurm configuration {where} is not a text file: name another with -f or SLURM_CONF")


def read(environment: Mapping[str, str]) -> Settings:
    """Read the oci.conf that is used in that environment; see :func:`read_file`."""
    return read_file(conf_paths.oci_conf(environment))


def read_file(where: str) -> Settings:
    """Read the settings of an oci.conf by their names in the manual page; SrunArgs is a list.

    Raises:
        SlurmError: the file doesn't exist, so that no node can run a container; or it can't be read or understood.
    """
    try:
        settings = parse(conf_text.content(where), where)
    except FileNotFoundError:
        raise SlurmError(f"{where} does not exist: Slurm runs containers only where oci.conf(5) says how") from None
    except OSError as error:
        raise SlurmError(f"can't read {where}: {error.strerror}") from error
    _check_patterns(settings, where)
    return settings


def parse(text: str, where: str = "oci.conf", read: Callable[[str], str] | None = None) -> Settings:
    """Parse the text of an oci.conf; ``where`` is the file's name for errors, ``read`` reads files that it includes.

    Raises:
        SlurmError: a line is no setting, a setting isn't oci.conf's, or a value is wrong; with file and line.
    """
    settings: dict[str, Any] = {}
    for place, name, value in conf_text.entries(text, where, read):
        if name.lower() not in _BY_LOWER:
            raise SlurmError(f"{place}: oci.conf has no {name}: see man oci.conf")
        proper, convert = _BY_LOWER[name.lower()]
        try:
            converted = convert(value)
        except ValueError as error:
            raise SlurmError(f"{place}: {proper}={value!r} is not {error}") from None
        if proper == "SrunArgs":
            settings.setdefault(proper, []).append(converted)
        else:
            settings[proper] = converted
    return settings  # type: ignore[return-value]  # _BY_LOWER has no other names


def spool_mounts(settings: Settings) -> tuple[str, str]:
    """Patterns of the path in a container where slurmstepd mounts a step's own files; empty if it mounts none.

    The first pattern is for Slurm 25.05 and later, the second for older releases. MountSpoolDir sets both. Its default
    is the directory's own path on the node, and was /var/run/slurm in older releases.
    """
    if settings.get("IgnoreFileConfigJson"):
        return "", ""
    if named := settings.get("MountSpoolDir"):
        return named, named
    return f"{settings.get('ContainerPath', '%m')}/{node_runtime.STEP_DIRECTORY}", "/var/run/slurm/"


def spool_mount(patterns: Sequence[str], version: Sequence[int], environment: Mapping[str, str]) -> str:
    """The pattern for a release of Slurm, with %m (slurm.conf's SlurmdSpoolDir) replaced.

    Args:
        patterns: the result of :func:`spool_mounts`.
        version: Slurm's major and minor number.
        environment: the environment that names slurm.conf.
    """
    pattern = patterns[tuple(version) < _SPOOL_IS_ITS_OWN_PATH]
    return pattern.replace("%m", _slurmd_spool(environment)) if "%m" in pattern else pattern


def _slurmd_spool(environment: Mapping[str, str]) -> str:
    settings = conf_text.settings(conf_paths.slurm_conf(environment))
    return settings.get("slurmdspooldir", "/var/spool/slurmd")  # the default, by slurm.conf(5)


def _check_patterns(settings: Settings, where: str) -> None:
    """Check the RunTime patterns, because slurmd refuses container steps without them and tells only its own log."""
    if settings.get("IgnoreFileConfigJson"):
        return
    has = {verb: bool(settings.get(f"RunTime{verb}")) for verb in ("Create", "Start", "Run", "Query", "Kill", "Delete")}
    run = has["Run"] and has["Kill"] and has["Delete"] and not has["Create"] and not has["Start"]
    start = has["Create"] and has["Start"] and has["Query"] and has["Kill"] and has["Delete"] and not has["Run"]
    if not run and not start:
        raise SlurmError(
            f"{where}: Slurm would run no container with it: set RunTimeKill, RunTimeDelete and RunTimeRun, "
            "or RunTimeKill, RunTimeDelete, RunTimeQuery, RunTimeCreate and RunTimeStart"
        )
