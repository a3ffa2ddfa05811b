"""How a node's own OCI runtime is called beside a container: for signals, exec and the like.

oci.conf has shell patterns for what slurmstepd does. Of the first one in which a runtime's verb and a container's name
can be found, what stands before the verb is how the runtime is called. Resident: the anchor expands what
:func:`derive`, called by create, has found.
"""

from __future__ import annotations

from scrun.errors import NodeRuntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Required, TypedDict

    class Runtime(TypedDict, total=False):
        """How the node's own runtime is called (:func:`derive`)."""

        kind: Required[str]  # "crun", "runc" or "other"
        command: str  # with oci.conf's patterns (%u, %j …), as is the name that the container has there
        name: str
        why: str  # in place of both: why it can't be called
        hooks: bool  # whether it runs hooks of a config that we add


# The patterns in the order in which they are looked at, each with the verb in it.
_PATTERNS = (
    *(("RunTimeQuery", "state"), ("RunTimeKill", "kill"), ("RunTimeDelete", "delete")),
    *(("RunTimeStart", "start"), ("RunTimeCreate", "create"), ("RunTimeRun", "run")),
)
# The options of run and create that take the next word for their value.
_WITH_VALUE = ("-b", "--bundle", "-f", "--config", "--console-socket", "--pid-file", "--preserve-fds", "--pidfd-socket")
STEP_DIRECTORY = "oci-job%j-%s"  # slurmstepd's name for where it keeps what is a step's
_HOOKS = {"poststart", "createRuntime"}  # those of ours, see bundle.adapt_start
_SEPARATORS = (";", "&&", "||", "|", "&")


def derive(settings: Mapping[str, Any]) -> Runtime:
    """What to keep of oci.conf: ``command`` and ``name``, patterns both, and which ``kind`` of runtime it is.

    Without a pattern that is understood there is ``why`` instead of the first two. ``hooks`` is whether the runtime is
    known to run those of a config that we add.
    """
    kind: Runtime = _kind(settings)
    kind["hooks"] = kind["kind"] != "other" and not _HOOKS & {*settings.get("DisableHooks", ())}
    if settings.get("NodeRuntime"):
        return {"command": settings["NodeRuntime"], "name": settings.get("NodeContainer", "%n.%u.%j.%s.%t"), **kind}
    why = "names no runtime that can be asked on the node"
    for key, verb in _PATTERNS:
        found = _understood(settings.get(key, ""), verb)
        if not found:
            continue
        if letter := next((x for x in ("%b", "%e", "%r", "%Z", "%p", "%@") if any(x in text for text in found)), ""):
            why = f"names a runtime by {letter}, which is known to slurmstepd only"
            continue
        command, name = (text.replace("%m", _spool(settings)) for text in found)
        if "%m" in command + name:
            why = "names a runtime by %m, which is known to slurmstepd only unless ContainerPath is set"
            continue
        return {"command": command, "name": name, **kind}
    return {"why": f'oci.conf {why}: add a line like #scrun: NodeRuntime="crun --root=/run/user/%U/crun"', **kind}


def _kind(settings: Mapping[str, Any]) -> Runtime:
    words = " ".join(str(settings.get(key, "")) for key in ("NodeRuntime", *dict(_PATTERNS))).split()
    names = {word.rpartition("/")[2] for word in words}
    return {"kind": "crun" if "crun" in names else "runc" if "runc" in names else "other"}


def _understood(pattern: str, verb: str) -> tuple[str, str] | None:
    """What stands before the verb, and the first word behind it that is no option."""
    words = pattern.split()
    if verb not in words[1:]:
        return None
    position = words.index(verb, 1)
    before, rest = words[:position], words[position + 1 :]
    # Not "exec", which would end the shell that has more to do.
    before = [word for at, word in enumerate(before) if word != "exec" or (at and not _ends(before[at - 1]))]
    name, skip = "", False
    for word in rest:
        if skip or word.startswith("-"):
            skip = not skip and word in _WITH_VALUE
            continue
        name = word
        break
    text = " ".join(before)
    unbalanced = any(part.count(quote) % 2 for part in (text, name) for quote in "\"'`") or text.count(
        "("
    ) != text.count(")")
    return None if not name or not text or _ends(name) or unbalanced else (text, name)


def _ends(word: str) -> bool:
    return word.endswith(_SEPARATORS)


def _spool(settings: Mapping[str, Any]) -> str:
    """%m: the directory of the step below ContainerPath (slurmstepd's naming of it)."""
    parent = settings.get("ContainerPath")
    return f"{parent}/{STEP_DIRECTORY}" if parent and "%t" not in parent else "%m"


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


def command(runtime: Runtime, values: Mapping[str, str]) -> tuple[str, str]:
    """The shell words before a verb, and the container's name, of what :func:`derive` found.

    Raises:
        NodeRuntimeError: oci.conf doesn't tell.
    """
    if "command" not in runtime:
        raise NodeRuntimeError(runtime["why"])
    return expand(runtime["command"], values), expand(runtime["name"], values)
