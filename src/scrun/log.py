"""What scrun says: to --log in runc's format, to standard error for a person, at the levels of scrun(1).

Not the logging package: it costs every call of docker's and podman's a third of its time, and the anchor a megabyte.
"""

from __future__ import annotations

import os
import time

from scrun import fastjson
from scrun.errors import ScrunError

LEVELS = ("quiet", "fatal", "error", "info", "verbose", "debug", "debug2", "debug3", "debug4", "debug5")
_RUNC_LEVELS = {"fatal": "error", "verbose": "debug"}  # logrus, whose format docker reads, has no such levels
ERROR, INFO, DEBUG = LEVELS.index("error"), LEVELS.index("info"), LEVELS.index("debug")


def rank(name: str) -> int:
    """The number of a level's name.

    Raises:
        ScrunError: no such level.
    """
    try:
        return LEVELS.index(name.lower())
    except ValueError:
        raise ScrunError(f"log level {name!r} is unknown: use one of {', '.join(LEVELS)}") from None


class Log:
    """Where messages go.

    ``path`` gets them as text or as a stream of JSON objects with ``level``, ``msg`` and ``time``; of those podman
    reads one and docker the last with level "error". Standard error gets what ``stderr_rank`` lets through.
    """

    def __init__(self, path: str = "", *, json: bool = False, file_rank: int = ERROR, stderr_rank: int = ERROR) -> None:
        self._json, self._file_rank, self._stderr_rank = json, file_rank, stderr_rank
        self._file = -1
        if path:
            try:
                self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise ScrunError(f"can't write the log {path}: {error.strerror}: name another with --log") from error

    def say(self, level: str, message: str) -> None:
        """Log one message."""
        importance = LEVELS.index(level)
        if self._file >= 0 and importance <= self._file_rank:
            _write(self._file, json_line(level, message) if self._json else text_line(level, message))
        if importance <= self._stderr_rank:
            _write(2, f"scrun: {message}\n")

    def tells(self, level: str) -> bool:
        """Whether standard error gets messages of that level."""
        return LEVELS.index(level) <= self._stderr_rank

    def debug(self, message: str) -> None:
        """Log what only somebody who looks for a fault wants to know."""
        self.say("debug", message)


def json_line(level: str, message: str) -> str:
    """One object of a JSON log (runc's --log-format json)."""
    entry = {"level": _RUNC_LEVELS.get(level, level), "msg": message, "time": timestamp()}
    return fastjson.dumps(entry) + "\n"


def text_line(level: str, message: str) -> str:
    """One line of a text log, as runc's."""
    return f"time={fastjson.dumps(timestamp())} level={level} msg={fastjson.dumps(message)}\n"


def append(path: str, level: str, message: str) -> None:
    """Add a line to a log that several processes write, without keeping it open."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    _write(descriptor, text_line(level, message))
    os.close(descriptor)


def timestamp(now_ns: int | None = None) -> str:
    """RFC 3339 in UTC with nanoseconds."""
    seconds, nanoseconds = divmod(time.time_ns() if now_ns is None else now_ns, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds:09d}Z"


def _write(descriptor: int, text: str) -> None:
    try:
        os.write(descriptor, text.encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # a full disk or a closed terminal must not change what becomes of a container
