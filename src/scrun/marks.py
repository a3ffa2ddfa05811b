"""The mark by which scrun knows its own lines among what a step prints.

A site's TaskProlog, a SPANK plugin or a TaskEpilog may print to the standard output and the standard error of every
task, before and after what scrun's script prints there, in whole lines or not. So each line of a script's answer begins
with the mark, and so does the line before a stream. The mark is random. What a script prints (``MARK> TEXT``) is
nowhere on its command line, so that not even a site's trace of command lines looks like an answer.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = f"scrun-{os.urandom(6).hex()}"
_BEGIN = f"{MARK}> ".encode()

# For a shell script: `say TEXT` prints a line of an answer. The first line break ends what others have left unfinished.
SAY = f"""say() {{ printf '\\n%s> %s\\n' {MARK} "$1"; }}
"""


def texts(printed: bytes) -> Iterator[str]:
    """What scripts have said so far: the whole lines, without the mark."""
    for line in printed.split(b"\n")[:-1]:
        _, found, text = line.partition(_BEGIN)
        if found:
            yield text.rstrip(b"\r").decode("utf-8", "backslashreplace")


def take_first(printed: bytearray) -> str | None:
    """Remove all up to the first of the lines, and that one; None while it has not come."""
    begin = printed.find(_BEGIN)
    end = printed.find(b"\n", begin)
    if begin < 0 or end < 0:
        del printed[: begin if begin >= 0 else max(0, len(printed) - len(_BEGIN))]
        return None
    text = bytes(printed[begin + len(_BEGIN) : end]).decode("utf-8", "backslashreplace")
    del printed[: end + 1]
    return text


def words(printed: bytes) -> str:
    """What the nodes have to say on standard error, from the first mark on; without a mark all of it."""
    _, found, rest = printed.partition(_BEGIN)
    lines = (rest if found else printed).replace(_BEGIN, b"").decode("utf-8", "backslashreplace").splitlines()
    return "\n".join(line for line in lines if line.strip())
