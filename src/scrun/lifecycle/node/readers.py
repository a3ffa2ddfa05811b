"""Ends a step whose output nobody reads any more, when it writes: where srun itself doesn't.

A program that writes to a pipe without a reader gets SIGPIPE. srun, which writes for it, gets one too, and has the step
killed. But before Slurm 26.05 it waits for that signal in another thread than the one that writes; so the signal stays
pending for ever, what the container writes is thrown away, and it writes on. The signal is sent once more here, to all
of srun. Until something is written none is pending, and the container goes on, as one on this machine does.
"""

from __future__ import annotations

import fcntl
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrun.lifecycle.process.loop import Loop

_LOOK = 0.1  # seconds between two looks at srun, once a reader has gone
_SIGPIPE = 1 << (signal.SIGPIPE - 1)


class Readers:
    """Those of a step's output, for which it has the descriptors itself: :meth:`close` it when the step has ended."""

    def __init__(self, loop: Loop, output: Iterable[int], srun: int) -> None:
        self._loop, self._srun = loop, srun
        self._timer = 0
        self._watched = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3) for descriptor in output]
        for descriptor in self._watched:
            loop.watch(descriptor, self.gone, only_gone=True)

    def close(self) -> None:
        """Keep none of the descriptors: who reads them waits for their end."""
        self._loop.forget(self._timer)
        for descriptor in self._watched:
            self._loop.unwatch(descriptor)
        self._watched = []

    def gone(self) -> None:
        """Look, from now on, whether srun writes to one who has gone."""
        self.close()
        self._look()

    def _look(self) -> None:
        if is_pending(self._srun, _SIGPIPE):
            os.kill(self._srun, signal.SIGPIPE)
        else:
            self._timer = self._loop.after(_LOOK, self._look)


def is_pending(pid: int, signals: int) -> bool:
    """Whether one of these signals, a mask as in ``/proc/PID/status``, is pending for one of the process's threads."""
    tasks = f"/proc/{pid}/task"
    try:
        return any(_pending(f"{tasks}/{task}/status") & signals for task in os.listdir(tasks))
    except OSError:  # it has ended
        return False


def _pending(status: str) -> int:
    with open(status, encoding="utf-8", errors="replace") as file:
        return next((int(line.split()[1], 16) for line in file if line.startswith("SigPnd:")), 0)
