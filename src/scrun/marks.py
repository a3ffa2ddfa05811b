"""The mark by which scrun recognizes its own lines in a step's output.

A site's TaskProlog, a SPANK plugin or a TaskEpilog may print to the standard output and standard error of every task,
before and after scrun's script, in whole lines or not. So each line of a script's answer begins with a random mark,
and so does the line before a stream. The text ``MARK> `` isn't on a script's command line, so that a site's trace of
command lines doesn't look like an answer.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = f"scrun-{os.urandom(6).hex()}"
_BEGIN = f"{MARK}> ".encode()

# For a shell script: `say TEXT` prints a line of an answer. The first line break ends an unfinished line of others.
SAY = f"""say() {{ printf '\\n%s> %s\\n' {MARK} "$1"; }}
"""


def texts(printed: bytes) -> Iterator[str]:
    """Yield the complete lines of scripts' answers, without the mark."""
    for line in printed.split(b"\n")[:-1]:
        _, mark, text = line.partition(_BEGIN)
        if mark:
            yield text.rstrip(b"\r").decode("utf-8", "backslashreplace")


def take_first(printed: bytearray) -> str | None:
    """Remove everything up to the first line with the mark, and return that line; None while it isn't complete."""
    begin = printed.find(_BEGIN)
    end = printed.find(b"\n", begin)
    if begin < 0 or end < 0:
        del printed[: begin if begin >= 0 else max(0, len(printed) - len(_BEGIN))]
        return None
    text = bytes(printed[begin + len(_BEGIN) : end]).decode("utf-8", "backslashreplace")
    del printed[: end + 1]
    return text


def words(printed: bytes) -> str:
    """The scripts' messages on standard error, from the first mark on; all of it without a mark."""
    _, mark, rest = printed.partition(_BEGIN)
    lines = (rest if mark else printed).replace(_BEGIN, b"").decode("utf-8", "backslashreplace").splitlines()
    return "\n".join(line for line in lines if line.strip())
