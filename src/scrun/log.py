"""Write messages to --log in runc's format, to standard error for people, and to syslog, at the levels of scrun(1).

Values of environment variables may be secrets, so only levels from debug3 on log them.

The logging package isn't used, because it takes a third of the time of each engine's call, and 1 MB of the anchor.
"""

from __future__ import annotations

import os
import time

from scrun import fastjson
from scrun.errors import ScrunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LEVELS = ("quiet", "fatal", "error", "info", "verbose", "debug", "debug2", "debug3", "debug4", "debug5")
_RUNC_LEVELS = {"fatal": "error", "verbose": "debug"}  # logrus, whose format docker reads, has no such levels
SYSLOG = "/dev/log"
USER, DAEMON = 1 << 3, 3 << 3  # syslog(3)'s facilities, for a command and for a resident process
_PRIORITIES = {"fatal": 2, "error": 3, "warning": 4, "info": 6, "verbose": 6}  # syslog(3); the others are debug
_LONGEST = 8192  # bytes of a message that journald and rsyslog take as one; Linux takes far longer datagrams
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def rank(name: str) -> int:
    """The number of a level.

    Raises:
        ScrunError: there is no such level.
    """
    try:
        return LEVELS.index(name.lower())
    except ValueError:
        raise ScrunError(f"log level {name!r} is unknown: use one of {', '.join(LEVELS)}") from None


def variable(place: str, environment: Mapping[str, str]) -> str:
    """The level that scrun(1)'s variables set for FILE, STDERR or SYSLOG; empty if none does."""
    return environment.get(f"SCRUN_{place}_DEBUG") or environment.get("SCRUN_DEBUG") or ""


class Levels:
    """The levels of the log file, of standard error and of syslog, as :func:`rank`; None for the default."""

    def __init__(self, file: int | None = None, stderr: int | None = None, syslog: int | None = None) -> None:
        self._said = {"file": file, "stderr": stderr, "syslog": syslog}
        self.settle()

    def settle(self, *, file: str = "error", stderr: str = "error", syslog: str = "quiet") -> None:
        """Set the defaults."""
        defaults = {"file": rank(file), "stderr": rank(stderr), "syslog": rank(syslog)}
        self.file, self.stderr, self.syslog = (
            defaults[place] if said is None else said for place, said in self._said.items()
        )


class Log:
    """A log to a file, to standard error and to syslog, each at its own level.

    Args:
        path: the log file; "" for none.
        json: whether the file has JSON objects with ``level``, ``msg`` and ``time``, or text. podman reads one object,
            docker the last with level "error".
        levels: the levels of the three.
        is_quoted: whether the caller puts scrun's name before a fatal message itself.
    """

    def __init__(
        self, path: str = "", *, json: bool = False, levels: Levels | None = None, is_quoted: bool = False
    ) -> None:
        self._json, self.levels, self._is_quoted = json, levels or Levels(), is_quoted
        self._file = -1
        if path:
            try:
                self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise ScrunError(f"can't write the log {path}: {error.strerror}: name another with --log") from error

    @property
    def descriptors(self) -> list[int]:
        """The descriptor of the log file, if there is one."""
        return [self._file] if self._file >= 0 else []

    def say(self, level: str, message: str, *, system: bool = True) -> None:
        """Log a message; ``system`` is False if another process writes it to syslog."""
        # scrun(1) has no level for warnings. They go where errors go, and are "warning" in runc's format.
        importance = LEVELS.index("error" if level == "warning" else level)
        if self._file >= 0 and importance <= self.levels.file:
            _write(self._file, json_line(level, message) if self._json else text_line(level, message))
        if importance <= self.levels.stderr:
            ours = "scrun: warning: " if level == "warning" else "scrun: "
            _write(2, f"{message}\n" if self._is_quoted and level == "fatal" else f"{ours}{message}\n")
        if system and importance <= self.levels.syslog:
            to_syslog(level, message)

    def tells(self, level: str) -> bool:
        """Whether messages of that level go to standard error."""
        return LEVELS.index(level) <= self.levels.stderr

    def warn(self, message: str) -> None:
        """Log that scrun doesn't do something that it was asked to do."""
        self.say("warning", message)

    def debug(self, message: str) -> None:
        """Log a message for finding faults."""
        self.say("debug", message)


def json_line(level: str, message: str) -> str:
    """An object of a JSON log (runc's --log-format json)."""
    entry = {"level": _RUNC_LEVELS.get(level, level), "msg": message, "time": timestamp()}
    return fastjson.dumps(entry) + "\n"


def text_line(level: str, message: str) -> str:
    """A line of a text log, in runc's format."""
    return f"time={fastjson.dumps(timestamp())} level={level} msg={fastjson.dumps(message)}\n"


def to_syslog(level: str, message: str, facility: int = USER) -> None:
    """Send a message to the host's syslog, one datagram a line; without a daemon, or if it is busy, the line is lost.

    syslog(3) isn't used, because it waits for a busy daemon, and the container would wait too.
    """
    import _socket

    now = time.localtime()
    stamp = f"{_MONTHS[now.tm_mon - 1]} {now.tm_mday:2d} {time.strftime('%H:%M:%S', now)}"  # RFC 3164, never translated
    head = f"<{facility | _PRIORITIES.get(level, 7)}>{stamp} scrun[{os.getpid()}]: "
    channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
    try:
        for line in message.splitlines():
            channel.sendto((head + line).encode("utf-8", "backslashreplace")[:_LONGEST], SYSLOG)
    except OSError:
        pass
    finally:
        channel.close()


def append(path: str, level: str, message: str) -> None:
    """Add a line to a log that several processes write, and close it; without access the line is lost."""
    descriptor = open_shared(path)
    append_to(descriptor, level, message)
    if descriptor >= 0:
        os.close(descriptor)


def open_shared(path: str) -> int:
    """A descriptor of a log that several processes write; -1 without access."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError:
        return -1


def append_to(descriptor: int, level: str, message: str) -> None:
    """Add a line to such a log; without access (-1) the line is lost."""
    if descriptor >= 0:
        _write(descriptor, text_line(level, message))


def timestamp(now_ns: int | None = None) -> str:
    """A time stamp of RFC 3339, in UTC with nanoseconds."""
    seconds, nanoseconds = divmod(time.time_ns() if now_ns is None else now_ns, 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds:09d}Z"


def _write(descriptor: int, text: str) -> None:
    try:
        os.write(descriptor, text.encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # a full disk or a closed terminal must not affect a container
