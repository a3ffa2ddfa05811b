"""Short-lived children of the anchor: each imports what is heavy (pyslurm, lupa), does one piece of work, and is gone.

What they import goes with them, so the anchor stays small. A worker talks to the anchor over a socket, in messages;
what anything in it prints (libslurm's own words, say) goes to a file of its own, which the anchor reads when the
worker ended without an answer, and which goes to the anchor's log.
"""

from __future__ import annotations

import _socket
import os
import select

from scrun import signal
from scrun.lifecycle.process import processes, wire
from scrun.lifecycle.process.last_words import last_words
from scrun.lifecycle.worker import child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.worker_messages import Order
    from scrun.lifecycle.process.loop import Loop

    M = TypeVar("M")

# Seconds that a cancelled worker has: to hear of it, which one that runs in Lua or libslurm doesn't; then to tidy up.
_HEARS, _TIDIES = 3.0, 60.0


class Worker:
    """One such child, as the anchor sees it.

    ``said`` is called with each message that ``check`` has let through, ``ended`` once, when the child is gone; what it
    printed is in ``output`` then.
    """

    def __init__(
        self,
        loop: Loop,
        container: Container,
        work: str,
        check: Callable[[object], M],
        *,
        said: Callable[[M], None],
        ended: Callable[[], None],
    ) -> None:
        self.work = work
        self.output = ""
        self._loop = loop
        self.hand_over(check, said, ended)
        self._printed = os.memfd_create(work)
        self._channel, theirs = wire.pair()
        self._reader = wire.Reader(self._channel)
        self._open = True
        self._gone = False
        self._timer = 0
        # The anchor ignores SIGTERM; one that comes before the worker has its own handler must wait for it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        self.pid = child.begin(work, theirs, self._printed, container)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        os.close(theirs)
        loop.watch(self._channel, self._readable)
        loop.child(self.pid, self._reaped)

    @property
    def is_there(self) -> bool:
        """Whether it may still do something."""
        return self._open and not self._gone

    def hand_over(self, check: Callable[[object], M], said: Callable[[M], None], ended: Callable[[], None]) -> None:
        """Have others called from now on."""
        self._check: Callable[[object], Any] = check
        self._said: Callable[[Any], None] = said
        self._ended = ended

    def send(self, message: Order) -> None:
        """Give the worker something to do; one that has gone says so by its end."""
        if self._open:
            wire.send(self._channel, message)

    def cancel(self) -> None:
        """Tell the worker that its work isn't wanted any more; it tidies up and ends.

        By a signal, for one that is busy, and by the end of what it is told, for one that waits: an exception that a
        handler raises can be lost, in a destructor or in the middle of an import. A script that loops for ever gets no
        signal: it is killed.
        """
        if not self._gone:
            os.kill(self.pid, signal.SIGTERM)
            if not self._timer:
                self._timer = self._loop.after(_HEARS, self._kill_deaf)
        if self._open:
            channel = _socket.socket(fileno=os.dup(self._channel))
            channel.shutdown(_socket.SHUT_WR)
            channel.close()

    def last_words(self, otherwise: str) -> str:
        """What it printed before it ended without an answer."""
        return last_words(self.output, otherwise)

    def kill(self) -> None:
        """End a worker that has nothing to tidy up, even one that is deep in libslurm and hears no signal."""
        if not self._gone:
            try:
                os.killpg(self.pid, signal.SIGKILL)  # with what a hook has started
            except ProcessLookupError:  # it has no group of its own yet
                os.kill(self.pid, signal.SIGKILL)

    def _kill_deaf(self) -> None:
        masks = processes.signal_masks(self.pid)
        term = 1 << signal.SIGTERM - 1
        if masks["SigIgn"] & term:
            self._timer = self._loop.after(_TIDIES, self.kill)
        elif masks["SigBlk"] & term:  # a job is being asked for, and must not be lost
            self._timer = self._loop.after(_HEARS, self._kill_deaf)
        else:
            self.kill()

    def _readable(self) -> None:
        messages = self._reader.read(self._check)
        if messages is None:
            self._loop.unwatch(self._channel)
            self._open = False
            self._finish()
            return
        for message in messages:
            self._said(message)

    def _reaped(self, _status: int) -> None:
        # What it said last counts, even when its end was seen first; a child that it left may hold the channel open.
        while self._open and select.select([self._channel], [], [], 0)[0]:
            self._readable()
        if self._open:
            self._loop.unwatch(self._channel)
            self._open = False
        self._gone = True
        self._loop.forget(self._timer)
        self._finish()

    def _finish(self) -> None:
        if self._open or not self._gone:
            return
        self.output = os.pread(self._printed, 65536, 0).decode("utf-8", "replace").strip()
        os.close(self._printed)
        self._ended()
