"""Copy between a person's terminal and a container until the container ends."""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PIECE = 65536  # bytes
_LOOK_AGAIN = 500  # milliseconds until the next look whether a source may be read


class Relay:
    """One direction of copying. It holds at most one piece, so that a slow reader makes the writer wait.

    Args:
        source, target: descriptors; the target should not block (O_NONBLOCK) if its reader may never come.
        may_read: is called before each read; a terminal that belongs to another job of the shell must not be read.
        ended: is called once when the source has ended, or the target takes no more.
    """

    def __init__(
        self,
        source: int,
        target: int,
        *,
        may_read: Callable[[], bool] = lambda: True,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self.source, self.target = source, target
        self._may_read, self._ended = may_read, ended
        self._piece = b""
        self._open = True

    def wants(self) -> tuple[int, int]:
        """The descriptor and the event of poll(2) that the relay waits for; -1 if it waits for none."""
        if not self._open:
            return -1, 0
        if self._piece:
            return self.target, select.POLLOUT
        return (self.source, select.POLLIN) if self._may_read() else (-1, 0)

    def go_on(self) -> None:
        """Read or write once, because the event has come."""
        try:
            if not self._piece:
                self._piece = os.read(self.source, _PIECE)
                if not self._piece:
                    self._end()
                    return
            self._piece = self._piece[os.write(self.target, self._piece) :]
        except BlockingIOError:
            pass
        except OSError:  # EPIPE, or EIO: the other side of a terminal has gone
            self._end()

    def _end(self) -> None:
        self._open, self._piece = False, b""
        self._ended()


def carry(relays: Sequence[Relay], until: int) -> None:
    """Serve the relays until a process has ended; ``until`` is its pidfd."""
    while True:
        poll = select.poll()
        poll.register(until, select.POLLIN)
        wanted = [(relay, *relay.wants()) for relay in relays]
        for _relay, descriptor, event in wanted:
            if descriptor >= 0:
                poll.register(descriptor, event)
        events = {descriptor for descriptor, _event in poll.poll(_LOOK_AGAIN if relays else None)}
        for relay, descriptor, _event in wanted:
            if descriptor in events:
                relay.go_on()
        if until in events:
            return


def drain(source: int, target: int) -> None:
    """Copy what is left in ``source``, which must not block."""
    try:
        while data := os.read(source, _PIECE):
            while data:
                data = data[os.write(target, data) :]
    except OSError:
        return
