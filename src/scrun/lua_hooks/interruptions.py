"""Signals wait while Lua runs.

Python handles a signal between two of its own instructions. While Lua computes there are none, so a signal that comes
then is handled where Lua next calls a function of Python's, which it does every few milliseconds (call.lua), before the
first line of that function. What the handler raises there would pass through Lua, as an error of the script's, which
the script may even catch.
"""

from __future__ import annotations

from scrun import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    Handler = Callable[[int, FrameType | None], object]

_WAIT = (signal.SIGINT, signal.SIGTERM)  # whose handlers raise exceptions


class Interruptions:
    """A context in which Lua runs: handlers are called while a function of Python's runs that Lua has called, or after.

    Only the main thread can use it (signal(2) is called there alone, by Python). ``waits`` says whether Lua runs. It is
    an attribute because a call would be a moment at which Python handles a signal.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Handler] = {}
        self._came: list[int] = []
        self.waits = False

    def __enter__(self) -> None:
        self.waits = True
        for number in _WAIT:
            handler = signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, self._take)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            if signal.getsignal(number) == self._take:  # a handler that was called may have put another in its place
                signal.signal(number, handler)
        self.begin()

    def begin(self) -> None:
        """Call the handlers of the signals that have come, which may raise, and let others through from now on."""
        self.waits = False
        while self._came:
            number = self._came.pop(0)
            self._handlers[number](number, None)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.waits:
            self._came.append(number)
        else:
            self._handlers[number](number, frame)
