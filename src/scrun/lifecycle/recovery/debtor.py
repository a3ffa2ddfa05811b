"""The debtor: a process that stays until slurmctld answers, and then ends the job of a container without an anchor.

The debtor takes the container's lock only while it tries, so that a delete needn't wait for it. Each try is a child
process, because libslurm's memory goes with it, and libslurm may end the process.
"""

from __future__ import annotations

import fcntl
import os
import time

from scrun import signal
from scrun.errors import ScrunError, SlurmUnreachable
from scrun.lifecycle.container import log_crash
from scrun.lifecycle.container.directory import DELETED
from scrun.lifecycle.process import fork, installed, processes
from scrun.lifecycle.recovery import recovery

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container

FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0  # seconds between two tries
_TRIES = 20  # the number of tries that may fail for other reasons than that slurmctld can't be reached
_PAID, _FAILED, _UNREACHABLE = 0, 1, 2  # exit statuses of a try
# The signals that aren't ignored. A debtor may be the child of a stand-in, which has handlers for all others.
_HEEDED = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}


def pay(container: Container) -> bool:
    """Try once to pay what is owed for a locked container (:func:`recovery.end`); return whether that is done."""
    return _try(container, log=True) == _PAID


def leave(container: Container, *, unwanted: bool = False, at_once: bool = False) -> int:
    """Leave a debtor behind for a locked container, unless there is one already.

    Args:
        container: the container.
        unwanted: whether the debtor removes the container's directory at the end.
        at_once: whether the debtor tries at once; then the container's lock is given up.

    Returns:
        The pid of the new debtor, or 0.
    """
    record, pid = container.record, 0
    if unwanted:
        record["unwanted"] = True
    if not processes.is_alive(*record.get("debtor", (0, 0))):
        pause = 0.0 if at_once else FIRST_PAUSE
        pid = fork.child(
            lambda: _be_debtor(container, pause),
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
        pass  # the disk is full; another delete may leave a second debtor, which does no harm
    if at_once:
        fcntl.flock(container.descriptor, fcntl.LOCK_UN)
    return pid


def stay(container: Container, pause: float = FIRST_PAUSE) -> None:
    """Try again and again until nothing is owed any more, or the container is removed.

    Args:
        container: the container; this process opens its directory anew, because the lock of an inherited descriptor is
            shared with the parent.
        pause: seconds before the first try.
    """
    inherited = container.descriptor
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


def _be_debtor(container: Container, pause: float) -> None:
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
