"""Run child processes, read their pipes together, and hold back SIGTERM until they have ended and left nothing."""

from __future__ import annotations

import os
import select

from scrun import signal
from scrun.errors import StagingError
from scrun.staging.child import Child, Standing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Any

    from scrun.staging.child import Process
    from scrun.staging.model import NodeSteps

_LIMIT = 1 << 20  # bytes that are kept of one pipe; later bytes are read and dropped
_GRACE = 3.0  # seconds between SIGTERM and SIGKILL
_LOOK_AGAIN = 0.01  # seconds


class StagingInterrupted(StagingError):
    """SIGTERM or SIGINT arrived."""


class Interruption:
    """A context that postpones SIGTERM and SIGINT.

    A signal makes waiting :class:`Children` raise StagingInterrupted. At the end of the context, when nothing is left
    behind, the signal is sent again to the previous handler. SIGPIPE is ignored, because a worker would die of it when
    a node closes its connection; the failed write is an error instead.
    """

    def __init__(self) -> None:
        self.number = 0
        self.descriptor = -1
        self._write_end = -1
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        self.descriptor, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                previous = signal.getsignal(number)
                if previous not in (signal.SIG_IGN, None):
                    signal.signal(number, self._note)
                    self._handlers[number] = previous
            except ValueError:  # only the main thread may set handlers; another thread gets no signal
                return self
        self._handlers[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        return self

    def __exit__(self, *_: object) -> None:
        for number, previous in self._handlers.items():
            signal.signal(number, previous)
        os.close(self.descriptor)
        os.close(self._write_end)
        if self.number:
            os.kill(os.getpid(), self.number)

    def check(self) -> None:
        """Raise StagingInterrupted if a signal came."""
        if self.number:
            from signal import Signals

            raise StagingInterrupted(f"interrupted by {Signals(self.number).name}")

    def _note(self, number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # one signal is enough, and the anchor sees that it has arrived
        self.number = number
        os.write(self._write_end, b".")


class Children:
    """The child processes of one exchange. Leaving the ``with`` block ends processes that still run."""

    def __init__(self, interruption: Interruption | None = None) -> None:
        self._interruption = interruption
        self._poll = select.poll()
        self._open: dict[int, bytearray] = {}
        self._children: list[Child] = []
        if interruption is not None:
            self._poll.register(interruption.descriptor, select.POLLIN)

    def __enter__(self) -> Children:
        return self

    def __exit__(self, _type: type[BaseException] | None, _value: object, _trace: TracebackType | None) -> None:
        self.end()

    def run(self, argv: Sequence[str], *, stdin: int, stdout: int | None = None, cwd: str | None = None) -> Child:
        """Start a local process. Its stderr is collected, and its stdout too unless ``stdout`` is a descriptor."""
        import subprocess

        environment = {**os.environ, "LC_ALL": "C"}
        environment.pop("TAR_OPTIONS", None)

        def launch(out: int, err: int) -> Process:
            return subprocess.Popen(argv, stdin=stdin, stdout=out, stderr=err, cwd=cwd, env=environment)

        return self._start(launch, stdout)

    def step(
        self,
        step: NodeSteps,
        name: str,
        argv: Sequence[str],
        *,
        stdin: int,
        stdout: int | None = None,
        nodes: Sequence[str] | None = None,
    ) -> Child:
        """Start a step on ``nodes``, or on all nodes; its output is collected as for :meth:`run`."""

        def launch(out: int, err: int) -> Process:
            return step.start(argv, name=name, stdin=stdin, stdout=out, stderr=err, nodes=nodes)

        return self._start(launch, stdout)

    def wait(self, done: Callable[[], bool] | None = None, seconds: float | None = None) -> bool:
        """Read until every child has closed its pipes or ``done`` returns True; False after ``seconds``."""
        import time

        end = None if seconds is None else time.monotonic() + seconds
        while self._open and not (done and done()):
            left = None if end is None else max(0, int((end - time.monotonic()) * 1000))
            events = self._poll.poll(left)
            if not events and left is not None:
                return False
            for descriptor, _ in events:
                self._read(descriptor)
        return True

    def wait_for(self, done: Callable[[], bool]) -> bool:
        """Read until ``done`` returns True; False if every child has closed its pipes before that."""
        self.wait(done)
        return done()

    def wait_until_readable(self, descriptor: int) -> None:
        """Read until something can be read from another descriptor, or it has ended."""
        self._poll.register(descriptor, select.POLLIN)
        try:
            while True:
                ready = [number for number, _ in self._poll.poll()]
                for number in ready:
                    if number != descriptor:
                        self._read(number)
                if descriptor in ready:
                    return
        finally:
            self._poll.unregister(descriptor)

    def check(self) -> None:
        """Raise StagingInterrupted if a signal came."""
        if self._interruption is not None:
            self._interruption.check()

    def has_closed(self, child: Child) -> bool:
        """Whether a child has closed its pipes, because it has ended or is ending."""
        return not self.is_open(child.err) and not self.is_open(child.out)

    def is_open(self, buffer: bytearray) -> bool:
        """Whether a child's ``out`` or ``err`` may still grow."""
        return any(buffer is other for other in self._open.values())

    def let_go(self, child: Child) -> None:
        """Stop reading a child whose output is complete; it ends by itself."""
        self._children.remove(child)
        for descriptor, buffer in list(self._open.items()):
            if buffer is child.out or buffer is child.err:
                self._close(descriptor)

    def part_with(self, child: Child, orders: int, nodes: Sequence[str], tracked: Sequence[str]) -> Standing:
        """Stop reading a step that stands by, and leave it to the result."""
        self._children.remove(child)
        descriptors = {id(buffer): descriptor for descriptor, buffer in self._open.items()}
        out, err = descriptors[id(child.out)], descriptors[id(child.err)]
        for descriptor in (out, err):
            self._poll.unregister(descriptor)
            del self._open[descriptor]
        return Standing(child, orders, (out, err), nodes, tracked)

    def take_over(self, standing: Standing) -> tuple[Child, int]:
        """Go on with a step that stands by; return it, and the descriptor of its stdin."""
        child, orders, (out, err) = standing.hand_over()
        child.out.clear()
        child.err.clear()
        self._add(child, {err: child.err, out: child.out})
        return child, orders

    def end(self) -> None:
        """End processes that still run, by SIGTERM and 3 seconds later by SIGKILL."""
        running = [child.process for child in self._children if child.process.poll() is None]
        for process in running:
            process.terminate()
        if running:
            import time

            end = time.monotonic() + _GRACE
            while any(process.poll() is None for process in running) and time.monotonic() < end:
                time.sleep(_LOOK_AGAIN)
        for process in running:
            process.kill()
            process.wait()
        for descriptor in list(self._open):
            self._close(descriptor)
        self._children.clear()

    def _start(self, launch: Callable[[int, int], Process], stdout: int | None) -> Child:
        err, err_write = os.pipe2(os.O_CLOEXEC)
        out, out_write = os.pipe2(os.O_CLOEXEC) if stdout is None else (-1, -1)
        read_ends, write_ends = [err] + [out] * (stdout is None), [err_write] + [out_write] * (stdout is None)
        try:
            child = Child(launch(out_write if stdout is None else stdout, err_write))
        except BaseException:
            for descriptor in read_ends:
                os.close(descriptor)
            raise
        finally:
            for descriptor in write_ends:
                os.close(descriptor)
        self._add(child, dict(zip(read_ends, (child.err, child.out), strict=False)))
        return child

    def _add(self, child: Child, outputs: dict[int, bytearray]) -> None:
        self._children.append(child)
        for descriptor, buffer in outputs.items():
            self._open[descriptor] = buffer
            self._poll.register(descriptor, select.POLLIN)

    def _read(self, descriptor: int) -> None:
        if descriptor not in self._open:
            self.check()
            return
        data = os.read(descriptor, 65536)
        buffer = self._open[descriptor]
        buffer += data[: max(0, _LIMIT - len(buffer))]
        if not data:
            self._close(descriptor)

    def _close(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        del self._open[descriptor]
        os.close(descriptor)
