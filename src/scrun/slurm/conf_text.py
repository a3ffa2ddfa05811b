"""Read the text of Slurm's configuration files by the rules of Slurm's own parser.

``#`` without a backslash before it starts a comment, even in quotes. A backslash at a line's end continues the line. A
line may have several settings, a value with blanks is quoted, and Include names a file. Comments of the form ``#scrun:
NAME=VALUE`` are scrun's own settings, which Slurm doesn't see.
"""

from __future__ import annotations

import os

from scrun.errors import SlurmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DEEPEST = 16  # files that include each other


def settings(where: str) -> dict[str, str]:
    """The settings of a file such as slurm.conf, by names in lower case; empty if the file can't be read."""
    try:
        return {name.lower(): value for _, name, value in entries(content(where), where)}
    except (OSError, SlurmError):
        return {}


def entries(
    text: str, where: str, read: Callable[[str], str] | None = None, *, depth: int = 0
) -> Iterator[tuple[str, str, str]]:
    """Yield each setting of a text: its place (FILE:LINE), its name, its value.

    Args:
        text: the text.
        where: the path of its file, for errors, and to find included files.
        read: reads an included file, by default :func:`content`. A text of another host must not name files of this
            one, which may be root's, or have no end.
        depth: how many files include this one.

    Raises:
        SlurmError: a line is no NAME=VALUE, an included file can't be read, or files include each other.
    """
    for number, line in _lines(text):
        place = f"{where}:{number}"
        words = line.split()
        if len(words) == 2 and words[0].lower() == "include":
            named = os.path.join(os.path.dirname(where), words[1])
            if depth >= _DEEPEST:
                raise SlurmError(f"{place}: files include each other, {_DEEPEST} deep: {named} is not read")
            try:
                included = (read or content)(named)
            except OSError as error:
                raise SlurmError(f"{place}: can't read {named}: {error.strerror}") from error
            yield from entries(included, named, read, depth=depth + 1)
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
                raise SlurmError(f"{place}: {wrong!r} is not NAME=VALUE: put a value with blanks in double quotes")
            yield place, name, value
            rest = rest.strip()


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each line with its number, without comments and backslashes; continued lines are joined."""
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
    """Split a text into its first word, a blank, and the rest."""
    word = text.split(None, 1)[0] if text.split() else ""
    return word, " ", text[len(word) :]


def _is_name(name: str) -> bool:
    return bool(name) and name.replace("_", "").replace(".", "").isalnum() and name.isascii()


def _without_comment(line: str) -> str:
    """Cut a line at the first # without a backslash before it, in quotes or not, as Slurm's parser does."""
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
    """Remove each backslash, but not the character after it."""
    out = ""
    while "\\" in line:
        plain, _, line = line.partition("\\")
        out, line = out + plain + line[:1], line[1:]
    return out + line


def content(where: str) -> str:
    """Read the text of a file.

    Raises:
        OSError: the file can't be read.
    """
    with open(where, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
