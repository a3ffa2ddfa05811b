"""Find out how a node's own OCI runtime is called, for signals, exec and the like.

oci.conf has shell patterns for slurmstepd. The first pattern with a runtime's verb and a container's name tells how to
call the runtime: by the words before the verb. create calls :func:`derive`; the anchor, which is resident, expands its
result.
"""

from __future__ import annotations

from scrun.errors import NodeRuntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Required, TypedDict

    class Runtime(TypedDict, total=False):
        """How to call the node's own runtime (:func:`derive`)."""

        kind: Required[str]  # "crun", "runc" or "other"
        command: str  # with oci.conf's patterns (%u, %j …)
        name: str  # the container's name in that runtime, with oci.conf's patterns
        why: str  # instead of command and name: the reason why the runtime can't be called
        hooks: bool  # whether the runtime runs hooks that scrun adds to a config
        disabled: list[str]  # the kinds of hooks that oci.conf disables


# Settings of oci.conf with patterns, in the order in which they are looked at, each with its verb.
_PATTERNS = (
    *(("RunTimeQuery", "state"), ("RunTimeKill", "kill"), ("RunTimeDelete", "delete")),
    *(("RunTimeStart", "start"), ("RunTimeCreate", "create"), ("RunTimeRun", "run")),
)
# Options of run and create whose value is the next word.
_WITH_VALUE = ("-b", "--bundle", "-f", "--config", "--console-socket", "--pid-file", "--preserve-fds", "--pidfd-socket")
STEP_DIRECTORY = "oci-job%j-%s"  # slurmstepd's name for a step's directory
_HOOKS = {"createRuntime", "createContainer", "poststop"}  # the hooks that scrun adds, see bundle.agents
_SEPARATORS = (";", "&&", "||", "|", "&")


def derive(settings: Mapping[str, Any]) -> Runtime:
    """Derive from oci.conf's settings how to call the node's runtime.

    ``hooks`` is True only if the runtime is known to run hooks that scrun adds to a config.
    """
    kind: Runtime = _kind(settings)
    kind["disabled"] = list(settings.get("DisableHooks", ()))
    kind["hooks"] = kind["kind"] != "other" and not _HOOKS & {*kind["disabled"]}
    if settings.get("NodeRuntime"):
        return {"command": settings["NodeRuntime"], "name": settings.get("NodeContainer", "%n.%u.%j.%s.%t"), **kind}
    why = "names no runtime that can be asked on the node"
    for key, verb in _PATTERNS:
        words = _understood(settings.get(key, ""), verb)
        if not words:
            continue
        if letter := next((x for x in ("%b", "%e", "%r", "%Z", "%p", "%@") if any(x in text for text in words)), ""):
            why = f"names a runtime by {letter}, which is known to slurmstepd only"
            continue
        command, name = (text.replace("%m", _spool(settings)) for text in words)
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
    """The words before the verb, and the first word after it that is no option; None for an unclear pattern."""
    words = pattern.split()
    if verb not in words[1:]:
        return None
    position = words.index(verb, 1)
    before, rest = words[:position], words[position + 1 :]
    # Without "exec", which would end a shell that has more to do.
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
    """The value of %m, slurmstepd's directory of the step below ContainerPath; "%m" if it isn't known."""
    parent = settings.get("ContainerPath")
    return f"{parent}/{STEP_DIRECTORY}" if parent and "%t" not in parent else "%m"


def expand(pattern: str, values: Mapping[str, str]) -> str:
    """Replace the %-letters of a pattern, which oci.conf(5) lists.

    Raises:
        NodeRuntimeError: only slurmstepd knows the value of a letter.
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
    """The shell words before a verb, and the container's name, with the letters of their patterns replaced.

    Raises:
        NodeRuntimeError: oci.conf doesn't tell how to call the runtime.
    """
    if "command" not in runtime:
        raise NodeRuntimeError(runtime["why"])
    return expand(runtime["command"], values), expand(runtime["name"], values)
