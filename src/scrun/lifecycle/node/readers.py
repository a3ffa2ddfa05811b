"""End a step that writes output which nobody reads any more, because an srun before 26.05 doesn't.

A program that writes to a pipe without a reader gets SIGPIPE. srun, which writes for the container, gets SIGPIPE too,
and kills the step. But before Slurm 26.05, srun waits for that signal in another thread than the one that writes. So
the signal stays pending for ever, the container's output is thrown away, and the container writes on. scrun then sends
the signal once more, to all of srun. As long as the container writes nothing, no signal is pending and it goes on, as a
container on this machine would.
"""

from __future__ import annotations

import fcntl
import os

from scrun import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrun.lifecycle.process.loop import Loop
    from scrun.wait import Kept

_LOOK = 0.1  # seconds between two looks at srun, once a reader has gone
_SIGPIPE = 1 << (signal.SIGPIPE - 1)


class Readers:
    """Watch whether a step's output still has readers; call :meth:`close` when the step has ended.

    Args:
        loop: the event loop of this process.
        output: descriptors of the step's output.
        srun: srun's pid.
        kept: what :meth:`keep` has returned.
    """

    def __init__(self, loop: Loop, output: Iterable[int], srun: int, kept: list[int] | None = None) -> None:
        self._loop, self._srun = loop, srun
        self._timer = 0
        self._watched = kept or [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3) for descriptor in output]
        for descriptor in self._watched:
            loop.watch(descriptor, self.gone, only_gone=True)

    def keep(self, kept: Kept) -> list[int]:
        """What is watched, for scrun-wait."""
        return [kept(descriptor) for descriptor in self._watched]

    def close(self) -> None:
        """Close the copies of the descriptors, because the readers wait for the end of file."""
        self._loop.forget(self._timer)
        for descriptor in self._watched:
            self._loop.unwatch(descriptor)
        self._watched = []

    def gone(self) -> None:
        """Look from now on whether srun has written without a reader."""
        self.close()
        self._look()

    def _look(self) -> None:
        if is_pending(self._srun, _SIGPIPE):
            os.kill(self._srun, signal.SIGPIPE)
        else:
            self._timer = self._loop.after(_LOOK, self._look)


def is_pending(pid: int, signals: int) -> bool:
    """Whether a signal of the mask ``signals`` is pending for a thread of the process (proc_pid_status(5), SigPnd)."""
    tasks = f"/proc/{pid}/task"
    try:
        return any(_pending(f"{tasks}/{task}/status") & signals for task in os.listdir(tasks))
    except OSError:  # it has ended
        return False


def _pending(status: str) -> int:
    with open(status, encoding="utf-8", errors="replace") as file:
        return next((int(line.split()[1], 16) for line in file if line.startswith("SigPnd:")), 0)
