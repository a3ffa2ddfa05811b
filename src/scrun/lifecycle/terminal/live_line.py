"""The live line: one line at a person's terminal that tells what scrun waits for, and vanishes after the wait.

A timer (setitimer(2)) draws the line again each second, so that the process can wait in read(2).
"""

from __future__ import annotations

import os
import time

from scrun import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.log import Log

_BEGIN, _END = "\r", "\x1b[K"  # go to the line's start; erase the rest of a longer line
_DUMB = ("", "dumb")  # values of TERM for terminals without these sequences
_WIDTH = 80  # columns, if the terminal doesn't tell


class LiveLine:
    """The line. :meth:`show` replaces its text and :meth:`clear` removes it; both may be called at any time."""

    def __init__(self, descriptor: int = 2) -> None:
        self._descriptor = descriptor
        self._text, self._since = "", 0.0
        self._before: object = None  # SIGALRM's handler

    @classmethod
    def for_a_person(cls, log: Log) -> LiveLine | None:
        """A line on standard error; None if no person sees it, or the person wants no such messages."""
        if os.environ.get("TERM", "") in _DUMB or not log.tells("info") or not os.isatty(2):
            return None
        return cls()

    def show(self, text: str, since: float = 0.0) -> None:
        """Show the text; with ``since`` (seconds since 1970) also the time since when, and how long that is."""
        if not self._text:
            self._before = signal.signal(signal.SIGALRM, self._tick)
            signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)
        self._text, self._since = text, since
        self._draw()

    def clear(self) -> None:
        """Remove the line: before anything else is written there, and when the wait is over."""
        if self._text:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)  # type: ignore[arg-type]  # what signal() itself gave
            self._text = ""
            self._write(_BEGIN + _END)

    def _tick(self, _number: int, _frame: object) -> None:
        if self._since:
            self._draw()

    def _draw(self) -> None:
        try:
            width = os.get_terminal_size(self._descriptor).columns or _WIDTH
        except OSError:
            width = _WIDTH
        text = "".join(letter if letter.isprintable() else "?" for letter in f"scrun: {self._text}")
        suffix = f" {waited(self._since, time.time())}" if self._since else ""
        # One column stays free, because some terminals begin a new line after a full one.
        self._write(_BEGIN + text[: max(0, width - 1 - len(suffix))] + suffix[: width - 1] + _END)

    def _write(self, text: str) -> None:
        try:
            os.write(self._descriptor, text.encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # the terminal is gone, and the wait goes on


def waited(since: float, now: float) -> str:
    """``since 14:03:05 (1:23)``, with the date if it isn't today. Both arguments are seconds since 1970."""
    begun = time.localtime(since)
    today = time.localtime(now)[:3] == begun[:3]
    minutes, seconds = divmod(max(0, int(now - since)), 60)
    hours, minutes = divmod(minutes, 60)
    long = f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
    return f"since {time.strftime('%H:%M:%S' if today else '%Y-%m-%d %H:%M:%S', begun)} ({long})"
