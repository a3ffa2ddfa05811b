"""The text of Slurm's configuration files, read by the rules of its own parser.

``#`` starts a comment even within quotes unless a backslash is before it, a backslash at its end continues a line, a
line may hold several settings, a value with blanks is quoted, and Include names a file. Comments of the form ``#scrun:
NAME=VALUE`` are settings of ours, which Slurm doesn't see.
"""

from __future__ import annotations

import os

from scrun.errors import SlurmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def settings(where: str) -> dict[str, str]:
    """What a file says of the whole cluster, slurm.conf say, by names in lower case; nothing where it can't be read."""
    try:
        return {name.lower(): value for _, name, value in entries(content(where), where)}
    except (OSError, SlurmError):
        return {}


def entries(text: str, where: str) -> Iterator[tuple[str, str, str]]:
    """Each setting: where it is, its name, its value."""
    for number, line in _lines(text):
        place = f"{where}:{number}"
        words = line.split()
        if len(words) == 2 and words[0].lower() == "include":
            named = os.path.join(os.path.dirname(where), words[1])
            try:
                text = content(named)
            except OSError as error:
                raise SlurmError(f"{place}: can't read {named}: {error.strerror}") from error
            yield from entries(text, named)
            continue
        rest = line.strip()
        while rest:
            name, equals, value = rest.partition("=")
            name, value = name.rstrip("-+*/ \t").strip(), value.lstrip()
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


def content(where: str) -> str:
    """The text of a file.

    Raises:
        OSError: it can't be read.
    """
    with open(where, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
