"""A process that stays until slurmctld answers, for a container whose anchor is gone: no job is left on its account.

It takes the container's lock only while it tries, so that whoever deletes the container needn't wait for it. A try is a
child's: libslurm's memory goes with it, and an end of the process that is libslurm's own idea is a try that failed.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time

from scrun.errors import ScrunError, SlurmUnreachable
from scrun.lifecycle.container import log_crash
from scrun.lifecycle.container.directory import DELETED
from scrun.lifecycle.process import fork, installed, processes
from scrun.lifecycle.recovery import recovery

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container

# Seconds between two tries, and how many there are where it isn't slurmctld that fails.
FIRST_PAUSE, _LONGEST_PAUSE, _TRIES = 2.0, 60.0, 20
_PAID, _FAILED, _UNREACHABLE = 0, 1, 2
_HEEDED = {
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGCHLD,
}  # no other is: it may come from a stand-in, which has handlers


def pay(container: Container) -> bool:
    """Try once to end what the container owes (:func:`recovery.end`), and say whether that is done; it is locked."""
    return _try(container, log=True) == _PAID


def leave(container: Container, *, unwanted: bool = False, at_once: bool = False) -> int:
    """Leave such a process behind, unless there is one; with ``unwanted`` it removes the container at the end.

    ``at_once``: it doesn't wait before the first try, and the container is not locked any more then. The result is the
    pid of a new one, or 0.
    """
    record, pid = container.record, 0
    if unwanted:
        record["unwanted"] = True
    if not processes.is_alive(*record.get("debtor", (0, 0))):
        pause = 0.0 if at_once else FIRST_PAUSE
        pid = fork.child(
            lambda: _be_one(container, pause),
            stdio=(fork.QUIET,) * 3,
            keep=(container.descriptor,),
            session=True,
            ignored=signal.valid_signals() - _HEEDED,
            failed=lambda: log_crash.write(container),
        )
        record["debtor"] = [pid, processes.start_time(pid)]
    try:
        container.save()
    except OSError:
        pass  # a full disk; another delete would leave a second one, which does no harm
    if at_once:
        fcntl.flock(container.descriptor, fcntl.LOCK_UN)
    return pid


def stay(container: Container, pause: float = FIRST_PAUSE) -> None:
    """Try again and again until nothing is owed any more, or the container has been removed."""
    inherited = container.descriptor
    # Opened anew: the lock of the old one is shared with whoever we come from.
    container.descriptor = os.open(f"/proc/self/fd/{inherited}", os.O_RDONLY | os.O_DIRECTORY)
    os.close(inherited)
    tries = _TRIES
    while tries:
        time.sleep(pause)
        pause = min(2 * pause or FIRST_PAUSE, _LONGEST_PAUSE)
        container.lock(wait=True)
        outcome = _try(container, log=False) if container.is_in_place() else _PAID
        if outcome == _PAID:
            return
        tries -= outcome == _FAILED
        fcntl.flock(container.descriptor, fcntl.LOCK_UN)


def _be_one(container: Container, pause: float) -> None:
    os.chdir("/")
    installed.hold()
    stay(container, pause)


def _try(container: Container, *, log: bool) -> int:
    def end() -> int:
        try:
            recovery.end(container)
        except ScrunError as error:
            if log:
                log_crash.write(container)
            return _UNREACHABLE if isinstance(error, SlurmUnreachable) else _FAILED
        if container.record.get("unwanted") or (container.is_marked(DELETED) and not container.record.get("lost")):
            container.remove()
        return _PAID

    pid = fork.child(end, failed=lambda: log_crash.write(container))
    exit_code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return exit_code if exit_code in (_PAID, _UNREACHABLE) else _FAILED
