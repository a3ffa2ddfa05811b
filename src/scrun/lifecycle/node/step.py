"""The container's own step: srun as a child of the anchor, with the container's stdio and srun's own messages."""

from __future__ import annotations

import fcntl
import os
import termios

from scrun import signal, wait
from scrun.errors import SlurmError
from scrun.lifecycle.node.readers import Readers
from scrun.lifecycle.process import fork
from scrun.slurm import srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypedDict

    from scrun.lifecycle.process.loop import Loop
    from scrun.slurm.srun import ProgressState
    from scrun.wait import Kept

    class StepState(TypedDict):
        """A :class:`Step` that runs."""

        pid: int
        messages: int
        readers: list[int]
        progress: ProgressState


_ERROR = 3  # srun's descriptor for the container's standard error; srun's own has its messages
_GRACE = 5.0  # seconds that srun has to end a step before srun is killed
_MOST_SAID = 1 << 20  # bytes of an unfinished line of srun's messages that are kept


class Step:
    """One run of srun.

    Args:
        loop: the event loop of this process.
        command: returns srun's command line, given the descriptor of the container's standard error (None: srun's own).
        environment: srun's.
        stdio: descriptors of the container's standard input, output and error.
        terminal: whether they are a terminal.
        started: is called once: with None when every node has started its tasks, or with the error.
        ended: is called at the end with the container's exit status, the highest of its tasks'.
        log: is called with each line of srun's messages.
        failed: is called with srun's words about a task that failed, if there are several tasks.
        own_session: whether srun gets a session of its own; otherwise it uses the terminal of the caller's session.
        kept: what :meth:`keep` has returned: srun runs already.
    """

    def __init__(
        self,
        loop: Loop,
        *,
        command: Callable[[int | None], Sequence[str]],
        environment: Mapping[str, str],
        stdio: Sequence[int],
        terminal: bool,
        started: Callable[[SlurmError | None], None],
        ended: Callable[[int], None],
        log: Callable[[str], None],
        failed: Callable[[str], None],
        own_session: bool = True,
        kept: StepState | None = None,
    ) -> None:
        self._loop, self._started, self._ended, self._log, self._failed = loop, started, ended, log, failed
        self.progress = srun.Progress(kept["progress"] if kept else None)
        self.is_ended_here = False  # whether scrun has ended the step, before anybody else did
        self._said_started = bool(kept)
        self._line = b""
        self._status: int | None = None
        self._relay = 0
        self._relay_ended = True
        self._kill_timer = 0
        if kept:
            self.pid = kept["pid"]
            self._readers = Readers(loop, (), self.pid, kept["readers"])
            self._follow(kept["messages"])
            return
        messages, theirs = os.pipe2(os.O_CLOEXEC)
        error = None if terminal else self._open_error(stdio[2])
        argv = command(_ERROR if error is not None else None)

        def become_srun() -> int:
            if terminal and own_session:
                # Then srun is the terminal's foreground group, which the kernel tells when the window's size changes.
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            return fork.execute(argv, environment)

        self.pid = fork.child(
            become_srun,
            stdio=(*stdio[:2], theirs, *((error,) if error is not None else ())),
            keep=(),
            session=own_session,
            default=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
        os.close(theirs)
        own = [] if error is None or stdio[1] < 0 else [stdio[1], *([] if self._relay else [error])]
        self._readers = Readers(loop, own, self.pid)
        if error is not None:
            os.close(error)
        os.set_blocking(messages, False)
        self._follow(messages)

    def _follow(self, messages: int) -> None:
        self._messages, self._open = messages, True
        self._loop.watch(messages, self._read)
        self._loop.child(self.pid, self._reaped)

    def keep(self, kept: Kept) -> StepState:
        """What it is, for scrun-wait.

        Raises:
            Busy: it hasn't started, ends, or has a helper that writes.
        """
        at_rest = self._said_started and self._open and self._status is None and self._relay_ended
        wait.check(at_rest and not self._kill_timer and not self._line, "the step begins or ends")
        return {
            "pid": self.pid,
            "messages": kept(self._messages),
            "readers": self._readers.keep(kept),
            "progress": self.progress.keep(),
        }

    @property
    def has_ended(self) -> bool:
        """Whether srun has ended."""
        return self._status is not None

    def terminate(self, grace: float | None = None) -> None:
        """End the step: srun kills it (SIGKILL) on every node, and is killed itself after ``grace`` seconds."""
        if self._status is None and not self._kill_timer:
            self.is_ended_here = not self.progress.cancelled
            os.kill(self.pid, signal.SIGTERM)
            self._kill_timer = self._loop.after(_GRACE if grace is None else grace, self.kill)

    def kill(self) -> None:
        """Kill srun; the step then ends with its job."""
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)

    def _open_error(self, stderr: int) -> int:
        """A descriptor for the container's standard error that srun can open by its name in /proc.

        That needs a permission for the file, which a program that another user has started doesn't have. A socket can't
        be opened at all. In these cases cat(1) copies, so that the container waits for a slow reader, and no buffer
        grows.
        """
        try:
            # O_NONBLOCK, because open(2) of a named pipe waits for a reader.
            how = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
            opened = os.open(f"/proc/self/fd/{stderr}", how)
            os.set_blocking(opened, True)
            return opened
        except OSError:
            read_end, write_end = os.pipe2(os.O_CLOEXEC)
            cat = lambda: os.execv("/bin/cat", ["cat"])  # noqa: E731
            self._relay = fork.child(cat, stdio=(read_end, stderr, fork.QUIET), keep=())
            os.close(read_end)
            self._relay_ended = False
            self._loop.child(self._relay, self._relayed)
            return write_end

    def _read(self) -> None:
        try:
            data = os.read(self._messages, 65536)
        except BlockingIOError:
            # A program that srun ran here (SLURM_PROLOG, SLURM_EPILOG) has left a child that holds the pipe.
            data = b""
        if not data:
            self._loop.unwatch(self._messages)
            self._open = False
            self._finish()
            return
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            text = line.decode("utf-8", "replace").rstrip("\r")
            self._log(text)
            failure = self.progress.line(text)
            if failure and self.progress.count > 1:
                self._failed(failure)
        self._line = self._line[-_MOST_SAID:]
        if self.progress.started:
            self._say_started(None)

    def _reaped(self, status: int) -> None:
        self._loop.forget(self._kill_timer)
        self._readers.close()
        while self._open:
            self._read()
        self._status = status
        self._finish()

    def _relayed(self, _status: int) -> None:
        self._relay_ended = True
        if self._status is None:
            self._readers.gone()
        self._finish()

    def _finish(self) -> None:
        if self._open or self._status is None or not self._relay_ended:
            return
        progress = self.progress
        if not progress.started:
            why = "; ".join(progress.errors) or f"srun ended with status {self._status} and said nothing"
            self._say_started(SlurmError(f"the container's step did not start: {why}"))
        self._ended(self._exit_status(self._status))

    def _exit_status(self, status: int) -> int:
        """The container's exit status by srun's; 128 + 15 for a step that was ended from outside and has no other."""
        progress = self.progress
        if progress.out_of_memory and status == 1:
            return 128 + signal.SIGKILL  # as engines report it
        if not progress.cancelled or not progress.started or status >= 128:
            return status
        if left := ", ".join(progress.left()):
            # Then the status is srun's own, mostly 1, because a failed node reports no task's end.
            self._failed(f"no exit status has come from {left}: Slurm has ended the step, as when a node fails")
            return 128 + signal.SIGTERM
        return status or 128 + signal.SIGTERM  # srun reports 0 if the tasks then ended by themselves

    def _say_started(self, error: SlurmError | None) -> None:
        if not self._said_started:
            self._said_started = True
            self._started(error)
