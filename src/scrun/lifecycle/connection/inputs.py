"""A stream from the caller's standard input, or terminal, to the node."""

from __future__ import annotations

import os

from scrun import signal, wait
from scrun.lifecycle.connection import frames
from scrun.lifecycle.connection.descriptors import LARGEST_ANSWER, Descriptor, read_by_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypedDict

    from scrun.lifecycle.connection.descriptors import DescriptorState
    from scrun.lifecycle.process.loop import Loop
    from scrun.wait import Kept

    class InputState(TypedDict):
        """An :class:`Input` at rest."""

        file: DescriptorState
        credit: int


_MOST_AT_ONCE = 8  # reads before the loop serves others
_LOOK_AGAIN = 0.5  # seconds until a terminal that may not be read now is looked at again


class Input:
    """Reads from a descriptor, never more than the node has asked for.

    ``is_open``: whether its end hasn't come.

    Args:
        loop: the process's loop.
        descriptor: the caller's; it may be closed when this returns.
        data: is called with each piece that was read.
        ended: is called once, at the end of the input or when it can't be read.
        may_read: is asked before each read: a terminal that belongs to another job now is not to be read.
        kept: what :meth:`keep` has returned; then there is no ``descriptor``.
    """

    def __init__(
        self,
        loop: Loop,
        descriptor: int,
        *,
        data: Callable[[bytes], None],
        ended: Callable[[], None],
        may_read: Callable[[], bool] | None = None,
        kept: InputState | None = None,
    ) -> None:
        self._loop, self._data, self._ended, self._may_read = loop, data, ended, may_read
        self._credit = frames.WINDOW
        self.is_open, self._is_paused = True, True
        self._timer = 0
        self._child, self._asked = 0, False
        self._ask: Callable[[int], None] = lambda _length: None
        if kept:
            self._credit, self._file = kept["credit"], Descriptor.woken(kept["file"])
            return
        self._file = Descriptor(descriptor, os.O_RDONLY)
        if self._file.needs_child:
            self._child, self._ask = read_by_child(self._file)
            loop.child(self._child, self._child_ended)

    def more(self, length: int) -> None:
        """The node has room for so many more bytes."""
        self._credit += length
        self._go()

    def pause(self) -> None:
        """Read nothing until :meth:`go_on`, which the first read waits for, too."""
        self._is_paused = True
        self._loop.forget(self._timer)
        self._timer = 0
        self._loop.let_be(self._file.number)

    def go_on(self) -> None:
        """Read from here on."""
        if self._is_paused:
            self._is_paused = False
            self._go()

    def close(self) -> None:
        """Read nothing more, and let go of the descriptor; ``ended`` isn't called."""
        if self.is_open:
            self.is_open = False
            self.pause()
            self._file.close()
            self._ask(0)
            if self._child:
                os.kill(self._child, signal.SIGKILL)  # it may be waiting for input

    def keep(self, kept: Kept) -> InputState:
        """What it is, for scrun-wait.

        Raises:
            Busy: a child reads, or it is looked now and then whether it may be read.
        """
        wait.check(not self._child and not self._timer and not self._may_read, "input is read")
        return {"file": self._file.keep(kept), "credit": self._credit}

    def _can_read(self) -> bool:
        return self.is_open and not self._is_paused and self._credit > 0

    def _go(self) -> None:
        """Read what is there, then have the loop call when there is more.

        It is read before it is watched, because poll(2) says nothing of a named pipe that was opened after its last
        writer had gone.
        """
        if not self._can_read() or self._timer:
            return
        if self._may_read and not self._may_read():
            self._loop.let_be(self._file.number)
            self._wait(_LOOK_AGAIN)
            return
        for _ in range(_MOST_AT_ONCE):
            if not self._can_read():
                self._loop.let_be(self._file.number)
                return
            if self._child and not self._asked:
                self._asked = True
                self._ask(min(self._credit, LARGEST_ANSWER))
            try:
                piece = self._file.read(min(self._credit, frames.LARGEST))
            except BlockingIOError:
                self._loop.watch(self._file.number, self._go)
                return
            except OSError:  # EIO: the terminal has gone; EISDIR
                piece = b""
            if not piece:
                self.close()
                self._ended()
                return
            self._credit -= len(piece)
            self._asked = False
            self._data(piece)
        self._loop.let_be(self._file.number)
        self._wait(0.0)

    def _wait(self, seconds: float) -> None:
        def go() -> None:
            self._timer = 0
            self._go()

        self._timer = self._loop.after(seconds, go)

    def _child_ended(self, _status: int) -> None:
        self._child = 0
