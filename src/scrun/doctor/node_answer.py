"""Parse a node's answer strictly: a line must be a known key with a value of its type. Other lines are dropped."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from scrun.doctor.node_script import END

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MOST = 4096  # lines
MANY = 1 << 40  # the number of inodes of a file system that doesn't count them
_YES = {"yes": True, "no": False}
_TEXT = re.compile(r"[ -~]{0,200}")
_PATH = re.compile(r"/[ -~]{0,300}")


class Answer:
    """The answer of one node, as far as it has come; a missing value is None or empty."""

    def __init__(self) -> None:
        self.is_complete = False
        self.began = False
        self.values: dict[str, object] = {}
        self.tools: dict[str, str] = {}
        self.rooms: dict[str, tuple[int, int]] = {}  # by directory: free bytes, free inodes
        self.left: list[int] = []  # ids of jobs whose directories are on the node
        self._oci: list[str] = []
        self.heard_clock = 0.0  # when the line with the node's clock came

    def take(self, lines: Iterable[str], now: float) -> None:
        """Parse lines that came at the time ``now`` (seconds since 1970)."""
        for number, line in enumerate(lines):
            if number > _MOST or self.is_complete:
                return
            self.began = True
            if line == END:
                self.is_complete = True
                continue
            key, _, text = line.partition(" ")
            if key == "clock" and "clock" not in self.values:
                self.heard_clock = now
            self._one(key, text)

    def _one(self, key: str, text: str) -> None:
        words = text.split(" ")
        if key == "tool" and len(words) >= 2 and words[0].isalnum() and _TEXT.fullmatch(text):
            self.tools[words[0]] = text.partition(" ")[2]
        elif key == "room" and len(words) == 5 and _PATH.fullmatch(words[0]) and all(map(_is_number, words[1:])):
            blocks, size, inodes, total = map(int, words[1:])
            self.rooms[words[0]] = blocks * size, inodes if total else MANY
        elif key == "left" and _is_number(text):
            self.left.append(int(text))
        elif key == "oci" and re.fullmatch(r"[A-Za-z0-9+/=]{1,76}", text):
            self._oci.append(text)
        elif (read := _TYPES.get(key)) and (value := read(text)) is not None:
            self.values.setdefault(key, value)

    def flag(self, key: str) -> bool | None:
        """A value that is yes or no."""
        value = self.values.get(key)
        return value if isinstance(value, bool) else None

    def number(self, key: str) -> int | None:
        """A value that is a number."""
        value = self.values.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def text(self, key: str) -> str | None:
        """A value that is a text."""
        value = self.values.get(key)
        return value if isinstance(value, str) else None

    def oci(self) -> str | None:
        """The text of the node's oci.conf; None if the node couldn't read it, or it didn't come whole."""
        if not self.flag("oci-read"):
            return None
        try:
            return base64.b64decode("".join(self._oci), validate=True).decode("utf-8", "surrogateescape")
        except ValueError:
            return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _number(text: str) -> int | None:
    return int(text) if _is_number(text) else None


def _flag(text: str) -> bool | None:
    return _YES.get(text)


def _plain(text: str) -> str | None:
    return text if _TEXT.fullmatch(text) else None


def _answered(text: str) -> str | None:
    """``yes`` or ``no``, and words."""
    return _plain(text) if text.partition(" ")[0] in _YES else None


def _one_of(*words: str) -> Callable[[str], str | None]:
    return lambda text: text if text in words else None


_TYPES: dict[str, Callable[[str], object]] = {
    **dict.fromkeys(("clock", "most-user", "most-net"), _number),
    **dict.fromkeys(("oci-read", "overlay", "bind", "user-namespace", "net-namespace", "bundle"), _flag),
    "oci-lacks": lambda text: text if text == "-" or _PATH.fullmatch(text) else None,
    "slurm": _plain,
    "runtime": _answered,
    "root": _answered,
    "root-owner": lambda text: text if re.fullmatch(r"\d{1,10} [0-7]{1,4}", text) else None,
    "back": _one_of("yes", "dropped", "refused", "unknown"),
    "tun": _one_of("yes", "closed", "none"),
    "own": _one_of("yes", "taken", "none"),
}
