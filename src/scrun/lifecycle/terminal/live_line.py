"""A line at a person's terminal that tells what is waited for, and goes away when the wait is over.

For whoever waits in read(2): a timer (setitimer(2)) draws the line again each second, so that nobody has to poll.
"""

from __future__ import annotations

import os
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.log import Log

_BEGIN, _END = "\r", "\x1b[K"  # from the line's start; and what is left of an older, longer one
_DUMB = ("", "dumb")  # terminals that can't do that
_WIDTH = 80  # columns, where the terminal doesn't say


class LiveLine:
    """The line. ``show`` puts a text in place of the last, ``clear`` takes it away; both may be called at any time."""

    def __init__(self, descriptor: int = 2) -> None:
        self._descriptor = descriptor
        self._text, self._since = "", 0.0
        self._before: object = None  # SIGALRM's handler

    @classmethod
    def for_a_person(cls, log: Log) -> LiveLine | None:
        """One on standard error, where a person sees it and wants to hear of such things."""
        if os.environ.get("TERM", "") in _DUMB or not log.tells("info") or not os.isatty(2):
            return None
        return cls()

    def show(self, text: str, since: float = 0.0) -> None:
        """Show the text; with ``since`` (seconds since the epoch) also since when, and how long that is."""
        if not self._text:
            self._before = signal.signal(signal.SIGALRM, self._tick)
            signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)
        self._text, self._since = text, since
        self._draw()

    def clear(self) -> None:
        """Take the line away, before anything else is written there, and when the wait is over."""
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
        # One column less: a full line makes some terminals begin the next.
        self._write(_BEGIN + text[: max(0, width - 1 - len(suffix))] + suffix[: width - 1] + _END)

    def _write(self, text: str) -> None:
        try:
            os.write(self._descriptor, text.encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # the terminal has gone; what is waited for has not


def waited(since: float, now: float) -> str:
    """``since 14:03:05 (1:23)``; the day too when it isn't today's. Both in seconds since the epoch."""
    begun = time.localtime(since)
    today = time.localtime(now)[:3] == begun[:3]
    minutes, seconds = divmod(max(0, int(now - since)), 60)
    hours, minutes = divmod(minutes, 60)
    long = f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
    return f"since {time.strftime('%H:%M:%S' if today else '%Y-%m-%d %H:%M:%S', begun)} ({long})"
