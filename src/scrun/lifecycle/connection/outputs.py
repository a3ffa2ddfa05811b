"""A stream from the node to whoever reads the container's output."""

from __future__ import annotations

import os
import select

from scrun import signal, wait
from scrun.lifecycle.connection import frames
from scrun.lifecycle.connection.descriptors import Descriptor, write_by_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypedDict

    from scrun.lifecycle.connection.descriptors import DescriptorState
    from scrun.lifecycle.process.loop import Loop
    from scrun.wait import Kept

    class OutputState(TypedDict):
        """An :class:`Output` at rest; ``file`` is None if nobody reads it any more."""

        file: DescriptorState | None
        allowed: int
        written: int

    Done = Callable[[], None]

_MORE_AFTER = frames.WINDOW // 4  # bytes that are written before the node is told that so many more may come


class Output:
    """Writes to a descriptor as fast as its reader reads; what it has no room for is held, at most the stream's credit.

    Args:
        loop: the process's loop.
        descriptor: the caller's; it may be closed when this returns.
        more: is called with how many more bytes may come.
        gone: is called once when nobody reads any more, with the reason if it is none of a reader's; what comes after
            that is dropped.
        over: is called once when the stream has ended and everything is written, or nobody reads it.
        kept: what :meth:`keep` has returned; then there is no ``descriptor``.
    """

    def __init__(
        self,
        loop: Loop,
        descriptor: int,
        *,
        more: Callable[[int], None],
        gone: Callable[[str], None],
        over: Done,
        kept: OutputState | None = None,
    ) -> None:
        self._loop, self._more, self._gone, self._over = loop, more, gone, over
        self._held = bytearray()
        self._allowed = frames.WINDOW
        self._written = 0  # bytes that the node hasn't been told of
        self._ended = self._is_over = self._is_gone = False
        self._waiting: list[tuple[int, Done]] = []  # how much of what is held comes before a call, in order
        self._child = 0
        if kept:
            self._allowed, self._written, self._is_gone = kept["allowed"], kept["written"], kept["file"] is None
            if kept["file"]:
                self._file = Descriptor.woken(kept["file"])
                self._watch_for_a_reader_that_goes()
            return
        self._file = Descriptor(descriptor, os.O_WRONLY)
        if self._file.needs_child:
            self._child = write_by_child(self._file)
            loop.child(self._child, self._child_ended)
        self._watch_for_a_reader_that_goes()

    @property
    def held(self) -> int:
        """Bytes that have come and aren't written."""
        return len(self._held)

    def keep(self, kept: Kept) -> OutputState:
        """What it is, for scrun-wait.

        Raises:
            Busy: something isn't written yet, a child writes, or the stream has ended.
        """
        wait.check(not self._held and not self._waiting and not self._child and not self._ended, "output is written")
        file = None if self._is_gone else self._file.keep(kept)
        return {"file": file, "allowed": self._allowed, "written": self._written}

    def put(self, data: memoryview) -> None:
        """Write, or hold.

        Raises:
            ProtocolError: the node has sent more than it may.
        """
        if self._ended or len(data) > self._allowed + frames.BEYOND:
            raise frames.ProtocolError("more output than the stream may have")
        self._allowed -= len(data)
        if self._is_gone:
            return
        written = 0 if self._held else self._write(data)
        if written < len(data) and not self._is_gone:
            if not self._held:
                self._loop.watch(self._file.number, self._ready, events=select.POLLOUT)
            self._held += data[written:]

    def end(self) -> None:
        """No more comes."""
        if not self._ended:
            self._ended = True
            self._finish()

    def when_written(self, done: Done) -> None:
        """Call ``done`` once everything that has come until now is written, or nobody reads it."""
        if self._held:
            self._waiting.append((len(self._held), done))
        else:
            done()

    def close(self) -> None:
        """Let go of the descriptor; what is held is lost."""
        if not self._is_gone:
            self._lose()
        self._ended = True
        if self._child:
            os.kill(self._child, signal.SIGKILL)  # it may be waiting for a reader
        self._finish()

    def _write(self, data: memoryview) -> int:
        """Write as much as there is room for; the result is how much."""
        written = 0
        try:
            while written < len(data):
                written += self._file.write(data[written:])
        except BlockingIOError:
            pass
        except OSError as error:
            self._leave(error)
            return written
        self._written += written
        if self._written >= _MORE_AFTER and not self._ended:
            self._allowed += self._written
            self._more(self._written)
            self._written = 0
        return written

    def _ready(self) -> None:
        with memoryview(self._held) as view:
            written = self._write(view)
        if self._is_gone:
            return
        del self._held[:written]
        self._waiting = [(before - written, done) for before, done in self._waiting]
        if not self._held:
            self._watch_for_a_reader_that_goes()
        while self._waiting and self._waiting[0][0] <= 0:
            self._waiting.pop(0)[1]()
        self._finish()

    def _watch_for_a_reader_that_goes(self) -> None:
        """Have the program's next write fail, as it does at a pipe, and not the one after it."""
        if self._file.is_final:
            self._loop.watch(self._file.number, self._reader_has_gone, only_gone=True)
        else:
            self._loop.let_be(self._file.number)

    def _reader_has_gone(self) -> None:
        self._leave(None)

    def _leave(self, error: OSError | None) -> None:
        """Nobody reads, or nothing more can be written: a full disk, say."""
        self._lose()
        reader = error is None or isinstance(error, (BrokenPipeError, ConnectionResetError))
        self._gone("" if reader or error is None else error.strerror or str(error))
        self._finish()

    def _lose(self) -> None:
        self._is_gone = True
        self._loop.let_be(self._file.number)
        self._file.close()
        self._held = bytearray()  # not cleared: _ready() may be looking at it
        waiting, self._waiting = self._waiting, []
        for _before, done in waiting:
            done()

    def _child_ended(self, _status: int) -> None:
        self._child = 0
        if not self._is_gone:
            self._leave(None)
        self._finish()

    def _finish(self) -> None:
        """Close when everything is written, and wait for the child that writes it."""
        if self._ended and not self._held and not self._is_gone:
            self._is_gone = True
            self._loop.let_be(self._file.number)
            self._file.close()
        if self._ended and self._is_gone and not self._child and not self._is_over:
            self._is_over = True
            self._over()
