"""The processes of a container that login follows: its own, those of exec, and commands beside it on the node."""

from __future__ import annotations

from scrun import wait
from scrun.lifecycle.connection import frames
from scrun.lifecycle.connection.frames import ERROR, INPUT, OUTPUT, ProtocolError
from scrun.lifecycle.connection.inputs import Input
from scrun.lifecycle.connection.outputs import Output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypedDict

    from scrun.lifecycle.connection.inputs import InputState
    from scrun.lifecycle.connection.outputs import OutputState
    from scrun.lifecycle.process.loop import Loop
    from scrun.wait import Kept

    class ProcessState(TypedDict):
        """A :class:`Process` that runs, with nothing under way."""

        open: list[int]
        outputs: list[tuple[int, OutputState]]
        input: InputState | None

    Send = Callable[[bytes], None]

MOST_SAID = 16 << 20  # bytes of a command's output that are kept
_ROOM = 1 << 20  # bytes that may be unacknowledged before input waits


class Failure:
    """Why a process could not be run: FAILED's ``where`` (``x``, ``r``, ``t``, ``l``, ``s``), ``errno``, ``text``."""

    def __init__(self, where: str, errno: int, text: str) -> None:
        self.where, self.errno, self.text = where, errno, text


class Follower:
    """What becomes of a process; each of these is called at most once."""

    def started(self, pid: int) -> None:
        """The program runs, with that pid on its node."""

    def failed(self, failure: Failure) -> None:
        """The program could not be run; nothing else is called."""

    def lost(self) -> None:
        """The agent has gone, so nothing is known of the process any more; nothing else is called."""

    def exited(self, status: int | None) -> None:
        """The process has ended with that status, a shell's; None for process 0, whose status the step tells."""

    def delivered(self) -> None:
        """What the process wrote before its end has been written, or nobody reads it; after :meth:`exited`."""


class Process:
    """One process, by its number.

    Args:
        loop: the process's loop.
        number: the protocol's.
        streams: its output streams: one with a terminal; none where srun carries them.
        unacknowledged: how many bytes wait for the agent.
        send: sends a frame to the agent.
        follower: is told what becomes of it.
        free: is called when the number may be used again.
        log: is told why an output can't be written.
        kept: what :meth:`keep` has returned; nothing is read until :meth:`go_on_reading`.
    """

    def __init__(
        self,
        loop: Loop,
        number: int,
        *,
        streams: Sequence[int],
        unacknowledged: Callable[[], int],
        send: Send,
        follower: Follower,
        free: Callable[[], None],
        log: Callable[[str], None],
        kept: ProcessState | None = None,
    ) -> None:
        self.number, self._unacknowledged = number, unacknowledged
        self._loop, self._send, self._follower, self._free, self._log = loop, send, follower, free, log
        self._input: Input | None = None
        self._outputs: dict[int, Output] = {}  # by stream, until they are over
        self._open = {*streams}  # whose EOF hasn't come
        self._waiting = 0  # outputs with something from before the end
        self.is_started = self.has_ended = self._is_free = self._has_failed = False
        if kept:
            self._take_over(kept)

    def _take_over(self, kept: ProcessState) -> None:
        self.is_started, self._open = True, {*kept["open"]}
        for stream, output in kept["outputs"]:
            self._outputs[stream] = self._output(stream, -1, output)
        if kept["input"]:
            self._input = self._make_input(-1, kept=kept["input"])

    def keep(self, kept: Kept) -> ProcessState:
        """What it is, for scrun-wait.

        Raises:
            Busy: it isn't running, or its input or output is under way.
        """
        wait.check(self.is_started and not self.has_ended and not self._has_failed, "a process begins or ends")
        return {
            "open": sorted(self._open),
            "outputs": [(stream, output.keep(kept)) for stream, output in self._outputs.items()],
            "input": self._input.keep(kept) if self._input and self._input.is_open else None,
        }

    def attach(self, stdio: Sequence[int], may_read: Callable[[], bool] | None = None) -> None:
        """Use these descriptors for its input and output (-1: none); the caller may close them then.

        Raises:
            OSError: they can't be used.
        """
        if stdio[INPUT] >= 0:
            self._input = self._make_input(stdio[INPUT], may_read)
        else:
            self._say(frames.EOF, INPUT)
        for stream in sorted(self._open):
            if stdio[stream] >= 0:
                self._outputs[stream] = self._output(stream, stdio[stream])
            else:
                self._say(frames.CLOSED, stream)
        if self.is_started and self._input:
            self._input.go_on()

    def _make_input(
        self, descriptor: int, may_read: Callable[[], bool] | None = None, kept: InputState | None = None
    ) -> Input:
        ended = lambda: self._say(frames.EOF, INPUT)  # noqa: E731
        return Input(self._loop, descriptor, data=self._read, ended=ended, may_read=may_read, kept=kept)

    def _output(self, stream: int, descriptor: int, kept: OutputState | None = None) -> Output:
        def gone(why: str) -> None:
            if why:
                self._log(f"the container's output can't be written: {why}")
            if stream in self._open:
                self._say(frames.CLOSED, stream)

        return Output(
            self._loop,
            descriptor,
            more=lambda length: self._say(frames.CREDIT, stream, frames.number(length)),
            gone=gone,
            over=lambda: self._over(stream),
            kept=kept,
        )

    @property
    def is_written(self) -> bool:
        """Whether everything that has come is written, or nobody reads it."""
        return not any(output.held for output in self._outputs.values())

    @property
    def is_over(self) -> bool:
        """Whether the process has ended, and its streams too."""
        return self.has_ended and not self._open and not self._outputs

    def take(self, kind: int, stream: int, payload: memoryview) -> None:
        """Take a frame about the process.

        Raises:
            ProtocolError: it can't be, now.
        """
        if kind == frames.DATA:
            self._put(stream & 3, payload)
        elif kind == frames.EOF:
            self._close(stream & 3)
        elif kind == frames.CREDIT:
            if self._input:
                self._input.more(frames.value(payload))
        elif kind == frames.CLOSED:
            self.stop_reading()
        elif kind == frames.STARTED:
            self._start(frames.value(payload))
        elif kind == frames.EXIT:
            self._end(frames.value(payload))
        elif kind == frames.FAILED:
            self._fail(Failure(chr(payload[0]), frames.value(payload, 1), frames.text(payload, 5)))
        else:
            raise ProtocolError(f"a frame of type {kind} about process {self.number}")

    def go_on_reading(self) -> None:
        """Read input again, if the agent has taken enough of what was sent."""
        if self._input and self.is_started and self._unacknowledged() <= _ROOM:
            self._input.go_on()

    def stop_reading(self) -> None:
        """Read no more input; nothing is said about it."""
        if self._input:
            self._input.close()
            self._input = None

    def lost(self) -> None:
        """The agent has gone, and nothing more comes; what has come is still written."""
        self.stop_reading()
        had_ended, self.has_ended = self.has_ended, True
        if not had_ended:
            self._follower.lost()
        self.end_streams()

    def end_streams(self) -> None:
        """Nothing more comes; the process has ended too, whether or not the agent has said so."""
        if not self.has_ended:
            self._end(None)
        for stream in sorted(self._open):
            self._close(stream)

    def close(self) -> None:
        """Let go of its descriptors; what isn't written is lost."""
        self.stop_reading()
        for output in [*self._outputs.values()]:
            output.close()

    def _say(self, kind: int, stream: int, payload: bytes = b"") -> None:
        self._send(frames.frame(kind, self.number * 4 + stream, payload))

    def _read(self, piece: bytes) -> None:
        self._say(frames.DATA, INPUT, piece)
        if self._input and self._unacknowledged() > _ROOM:
            self._input.pause()

    def _put(self, stream: int, payload: memoryview) -> None:
        if stream not in self._open:
            raise ProtocolError(f"output of process {self.number} in its stream {stream}")
        if stream in self._outputs:
            self._outputs[stream].put(payload)

    def _close(self, stream: int) -> None:
        if stream not in self._open:
            raise ProtocolError(f"a second end of stream {stream} of process {self.number}")
        self._open.discard(stream)
        if stream in self._outputs:
            self._outputs[stream].end()
        self._forget()

    def _over(self, stream: int) -> None:
        self._outputs.pop(stream, None)
        self._forget()

    def _start(self, pid: int) -> None:
        if self.is_started or self.has_ended:
            raise ProtocolError(f"a second start of process {self.number}")
        self.is_started = True
        if self._input:
            self._input.go_on()
        self._follower.started(pid)

    def _fail(self, failure: Failure) -> None:
        if self.is_started or self.has_ended:
            raise ProtocolError(f"process {self.number} failed to start after its start")
        self.has_ended = self._has_failed = True
        self.stop_reading()
        self._open.clear()
        self._follower.failed(failure)
        for output in [*self._outputs.values()]:
            output.end()
        self._forget()

    def _end(self, status: int | None) -> None:
        if self._has_failed:  # the container's own: its init ends then
            self._has_failed = False
            return
        if self.has_ended:  # one that never started may end: it is killed while its start is waited for
            raise ProtocolError(f"a second end of process {self.number}")
        self.has_ended = True
        self.stop_reading()
        self._follower.exited(None if status == frames.UNKNOWN_STATUS else status)
        outputs = [*self._outputs.values()]
        self._waiting = len(outputs) + 1
        for output in outputs:
            output.when_written(self._wrote)
        self._wrote()
        self._forget()

    def _wrote(self) -> None:
        self._waiting -= 1
        if not self._waiting:
            self._follower.delivered()

    def _forget(self) -> None:
        if self.is_over and not self._is_free:
            self._is_free = True
            self._free()


class Command:
    """A command on the node, beside the container: what it prints, and its exit status."""

    def __init__(self, number: int, *, send: Send, done: Callable[[int, str], None], free: Callable[[], None]) -> None:
        self._number, self._send, self._done, self._free = number, send, done, free
        self._said = bytearray()
        self._open = {OUTPUT, ERROR}
        self._status: int | None = None

    def take(self, kind: int, stream: int, payload: memoryview) -> None:
        """Take a frame about the command; see :meth:`Process.take`."""
        if kind == frames.DATA and stream & 3 in self._open:
            self._said += payload[: MOST_SAID - len(self._said)]
            self._send(frames.frame(frames.CREDIT, stream, frames.number(len(payload))))
        elif kind == frames.EOF and stream & 3 in self._open:
            self._open.discard(stream & 3)
            self._finish()
        elif kind == frames.EXIT and self._status is None:
            self._status = frames.value(payload)
            self._finish()
        elif kind == frames.FAILED and self._status is None:
            self._said += bytes(payload[5:])
            self._status = 127 if payload[0] == ord("x") else 126
            self._open.clear()
            self._finish()
        elif kind not in (frames.STARTED, frames.CREDIT, frames.CLOSED):
            raise ProtocolError(f"a frame of type {kind} about the command {self._number}")

    def lost(self) -> None:
        """The agent has gone."""
        if self._status is None or self._open:
            self._status, self._said = 255, bytearray(b"the connection to the node was lost")
            self._open.clear()
            self._finish()

    def _finish(self) -> None:
        if self._status is not None and not self._open:
            self._free()
            self._done(self._status, self._said.decode("utf-8", "replace"))
