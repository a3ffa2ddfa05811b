"""oci.conf(5): how the nodes run containers, read on the submitting host for what concerns who asks them to.

The file is read by the rules of Slurm's own parser: ``#`` starts a comment even within quotes unless a backslash is
before it, a backslash at its end continues a line, a line may hold several settings, and a value with blanks is quoted.
Two settings of scrun's own may stand in comments (:data:`OURS`), which Slurm doesn't see.
"""

from __future__ import annotations

import os

from scrun.errors import SlurmError
from scrun.log import LEVELS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    Settings = dict[str, Any]


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
    if value.isascii() and value.isdigit() and int(value) < len(LEVELS):
        return LEVELS[int(value)]
    if value.lower() not in LEVELS:
        raise ValueError(f"one of {', '.join(LEVELS)}")
    return value.lower()


def _expression(value: str) -> str:
    """slurmd compiles it, regex(7); here only its brackets are looked at, since re would cost each create 5 ms."""
    depth, position = 0, 0
    while position < len(value):
        character = value[position]
        if character == "\\":
            position += 1
        elif character == "[":
            first = position + 1 + (value[position + 1 : position + 2] == "^")
            position = value.find("]", first + 1)
            while position > 0 and value[position - 1] == ":" and value.rfind("[:", first, position) > first - 1:
                position = value.find("]", position + 1)  # the end of a class such as [:alnum:] within
            if position < 0:
                raise ValueError("an extended regular expression: a [ without ]")
        depth += (character == "(") - (character == ")")
        position += 1
    if depth:
        raise ValueError("an extended regular expression: its brackets don't match")
    return value


def _hooks(value: str) -> list[str]:
    return [word.strip() for word in value.split(",") if word.strip()]


# Every key of oci.conf(5), with what reads its value.
KEYS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("ContainerPath", "MountSpoolDir", "SrunPath", "DebugFlags", "SrunArgs"), _text),
    **{f"RunTime{verb}": _text for verb in ("Create", "Delete", "Kill", "Query", "Run", "Start")},
    **dict.fromkeys(("StdIODebug", "SyslogDebug", "FileDebug"), _level),
    **dict.fromkeys(("EnvExclude", "RunTimeEnvExclude"), _expression),
    **dict.fromkeys(("DisableCleanup", "IgnoreFileConfigJson"), _boolean),
    "CreateEnvFile": _env_file,
    "DisableHooks": _hooks,
}
# "#scrun: NodeRuntime=..." says how a node's runtime is called where the RunTime patterns don't tell; see node_runtime.
OURS: dict[str, Callable[[str], Any]] = {"NodeRuntime": _text, "NodeContainer": _text}

_BY_LOWER = {name.lower(): (name, parse) for name, parse in {**KEYS, **OURS}.items()}


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


def read(where: str) -> Settings:
    """The settings of the oci.conf at that path, by their names as the manual page has them; SrunArgs is a list.

    Raises:
        SlurmError: there is none, so no node can run a container; or it can't be read, or understood.
    """
    try:
        settings = parse(_content(where), where)
    except FileNotFoundError:
        raise SlurmError(f"{where} does not exist: Slurm runs containers only where oci.conf(5) says how") from None
    except OSError as error:
        raise SlurmError(f"can't read {where}: {error.strerror}") from error
    _check_patterns(settings, where)
    return settings


def parse(text: str, where: str = "oci.conf") -> Settings:
    """The settings of that text; ``where`` names the file in what is wrong with it.

    Raises:
        SlurmError: a line that is no setting, a key that isn't oci.conf's, a value that isn't one, with file and line.
    """
    settings: Settings = {}
    for place, name, value in _entries(text, where):
        if name.lower() not in _BY_LOWER:
            raise SlurmError(f"{place}: oci.conf has no {name}: see man oci.conf")
        proper, convert = _BY_LOWER[name.lower()]
        try:
            found = convert(value)
        except ValueError as error:
            raise SlurmError(f"{place}: {proper}={value!r} is not {error}") from None
        if proper == "SrunArgs":
            settings.setdefault(proper, []).append(found)
        else:
            settings[proper] = found
    return settings


def _entries(text: str, where: str) -> Iterator[tuple[str, str, str]]:
    """Each setting: where it is, its name, its value."""
    for number, line in _lines(text):
        place = f"{where}:{number}"
        words = line.split()
        if len(words) == 2 and words[0].lower() == "include":
            named = os.path.join(os.path.dirname(where), words[1])
            yield from _entries(_content(named), named)
            continue
        rest = line.strip()
        while rest:
            name, equals, value = rest.partition("=")
            name, value = name.strip(), value.lstrip()
            quoted = value.startswith('"') and '"' in value[1:]
            value, _, rest = value[1:].partition('"') if quoted else _cut(value)
            misquoted = rest and not rest[0].isspace() if quoted else value.startswith('"')
            if not equals or not _is_name(name) or misquoted:
                wrong = line.strip()
                raise SlurmError(f"{place}: {wrong!r} is no NAME=VALUE: put a value with blanks in double quotes")
            yield place, name, value
            rest = rest.strip()


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines without comments and backslashes, joined where one is continued, each with its number."""
    parts, first = "", 0
    for number, whole in enumerate(text.split("\n"), 1):
        ours = whole.strip().lower().replace(" ", "").startswith("#scrun:")
        part = whole.partition(":")[2] if ours else _without_comment(whole)
        first = first or number
        continued = not ours and _is_continued(part)
        parts += part.rstrip()[:-1] if continued else part
        if not continued:
            yield first, _without_escapes(parts)
            parts, first = "", 0
    if parts:
        yield first, _without_escapes(parts)


def _cut(text: str) -> tuple[str, str, str]:
    """The first word, a blank, and the rest."""
    word = text.split(None, 1)[0] if text.split() else ""
    return word, " ", text[len(word) :]


def _is_name(name: str) -> bool:
    return bool(name) and name.replace("_", "").replace(".", "").isalnum() and name.isascii()


def _without_comment(line: str) -> str:
    """Slurm's parser cuts at the first # that has no backslash before it, quotes or not."""
    position = line.find("#")
    while position > 0 and _backslashes_before(line, position) % 2:
        position = line.find("#", position + 1)
    return line if position < 0 else line[:position]


def _backslashes_before(line: str, position: int) -> int:
    return position - len(line[:position].rstrip("\\"))


def _is_continued(line: str) -> bool:
    stripped = line.rstrip()
    return bool(_backslashes_before(stripped, len(stripped)) % 2)


def _without_escapes(line: str) -> str:
    """Each backslash goes, and what follows it stays."""
    out = ""
    while "\\" in line:
        plain, _, line = line.partition("\\")
        out, line = out + plain + line[:1], line[1:]
    return out + line


def _content(where: str) -> str:
    with open(where, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _check_patterns(settings: Settings, where: str) -> None:
    """slurmd refuses each container step otherwise, and says why in its own log only."""
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
