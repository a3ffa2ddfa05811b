"""End jobs whose containers are gone: after a reboot of this host, or when all of a container's processes were killed.

Two looks, both cheap. One is at the containers' directories, in each create and list: where nobody holds a directory's
lock and the record says that a job is owed, a process is left that ends it (:mod:`debtor`). The other asks Slurm for
the user's jobs, once in each boot: a mark in ``--root`` says that it was done. After a reboot there is no such mark,
since ``--root`` is on a file system that a reboot empties, or it names another boot.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time

from scrun import identity
from scrun.errors import ScrunError, SlurmMissing, SlurmUnreachable
from scrun.lifecycle.container import origin, status
from scrun.lifecycle.container.directory import PAID, STATE, Container
from scrun.lifecycle.process import fork, installed, processes
from scrun.lifecycle.recovery import debtor, recovery
from scrun.lifecycle.worker import ask_slurm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Say = Callable[[str, str], None]

SWEPT, SWEEPING = ".swept", ".sweeping"  # no container's id begins with a dot
# Seconds that somebody waits for Slurm's answer, and that a process does that nobody waits for.
_PATIENCE, _LONG_PATIENCE = 5.0, 180.0
_LOOK = 0.02  # seconds between two looks whether a container is held
_HELD = -2  # in the place of a descriptor: another process has the lock
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0  # seconds between two tries of a process that nobody waits for
# Of the states of a job (squeue(1)), those in which it still has, or may yet get, something to be given back.
LIVES = ("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "REQUEUED", "RESIZING")


def run(root: str, say: Say, *, make: bool = False) -> list[str]:
    """Do both while somebody waits; the result is the ids of the containers whose jobs were ended in Slurm.

    Where Slurm doesn't answer, a process stays that tries again until it does. ``make``: a root directory that isn't
    there is an engine's that was removed, and not a slip of a person's.
    """
    end_lost(root, say)
    if not is_due(root) or not (make or os.path.isdir(root) or root == identity.default_root()):
        return []
    try:
        return _sweep(root, say, _PATIENCE)
    except ScrunError as error:
        say("info", f"can't ask Slurm for jobs whose containers are gone: {error}")
        if not isinstance(error, SlurmMissing):
            _leave(root, say, ())
        return []


def begin(root: str, say: Say, *, but: str, keep: Sequence[int]) -> None:
    """Do both without keeping anybody waiting.

    Args:
        root: of the containers.
        say: is called with a level and what was found, here and in the process that is left.
        but: the id of a container that needn't be looked at.
        keep: the descriptors that ``say`` needs.
    """
    end_lost(root, say, but=but)
    if is_due(root):
        _leave(root, say, keep)


def is_due(root: str) -> bool:
    """Whether Slurm hasn't been asked in this boot."""
    try:
        with open(os.path.join(root, SWEPT), encoding="ascii", errors="replace") as file:
            return file.read() != _boot()
    except OSError:
        return True


def end_lost(root: str, say: Say, *, but: str = "") -> None:
    """Leave a process for each container of this host that has lost all of its own and whose job is still owed."""
    try:
        names = os.listdir(root)
    except OSError:
        return
    for name in names:
        if name != but and identity.is_valid_id(name):
            end_if_lost(root, name, say)


def end_if_lost(root: str, name: str, say: Say, *, patience: float = 0.0) -> None:
    """Leave such a process for one container; who is at it already has ``patience`` seconds to be done with it."""
    try:
        container = Container.open(root, name, load=False)
    except ScrunError:
        return
    try:
        # One without a record is only being made: its lock is not to be touched.
        if not os.access(STATE, os.F_OK, dir_fd=container.descriptor) or not _is_free(container, patience):
            return
        container.load()
        if _owes(container):
            job = container.record["job"]
            say("error", f"job {job} of container {name!r} is ended, since all its processes here were killed")
            debtor.leave(container)
    except (ScrunError, OSError):
        pass  # gone meanwhile, or damaged: list and delete say so
    finally:
        os.close(container.descriptor)


def lost(root: str) -> list[str]:
    """The containers of this host that have lost all their processes and whose job is still owed; it ends none."""
    found = []
    try:
        names = os.listdir(root)
    except OSError:
        return []
    for name in filter(identity.is_valid_id, names):
        try:
            container = Container.open(root, name, load=False)
        except ScrunError:
            continue
        try:
            if os.access(STATE, os.F_OK, dir_fd=container.descriptor) and _is_free(container, 0.0):
                container.load()
                if _owes(container):
                    found.append(name)
        except (ScrunError, OSError):
            pass  # gone meanwhile, or damaged
        finally:
            os.close(container.descriptor)
    return found


def _is_free(container: Container, patience: float) -> bool:
    until = time.monotonic() + patience
    while not container.lock(wait=False):
        if time.monotonic() >= until:
            return False
        time.sleep(_LOOK)
    return True


def _owes(container: Container) -> bool:
    """Whether a job, or a step in one, is left of a container that nobody holds, and nobody is at it already."""
    record, now = container.record, origin.here()
    written = origin.parse(f"@{record.get('host', '')}.0.0.0")
    if not written or not origin.is_same_machine(written.host, now):
        return False  # on a shared file system another host's lock may not be seen here
    if (written.host.boot, written.host.pids) != (now.boot, now.pids):
        record.update({"step_pid": 0, "step_started": 0, "debtor": [0, 0]})  # the numbers are other processes' by now
    if processes.is_alive(*record.get("debtor", (0, 0))):
        return False
    if not record.get("job") and (job := recovery.read_job(container)):
        record.update({"job": job, "job_owned": True})
    if not record.get("job") or record.get("released") or container.is_marked(PAID):
        return False
    return bool(record.get("job_owned")) or record["status"] != status.STOPPED


def _sweep(root: str, say: Say, patience: float) -> list[str]:
    """Ask Slurm for the user's jobs, and end those of containers that are gone.

    Raises:
        ScrunError: Slurm can't be asked now.
    """
    lock = _lock(root)
    if lock == _HELD:
        return []  # somebody else is at it
    try:
        ended = ask_slurm.ask(lambda: _end_left(root), patience)
        for job, container_id, why in ended:
            say("error", f"job {job} of container {container_id!r} is ended: {why}")
        _remember(root)
        return [container_id for _job, container_id, _why in ended]
    finally:
        if lock >= 0:
            os.close(lock)


def _end_left(root: str) -> list[tuple[int, str, str]]:
    """In a process of its own: what was ended, as the job, the container's id, and why."""
    from scrun.slurm import control, jobs

    now, ended = origin.here(), []
    for job, found in jobs.of_user(identity.real_uid()).items():
        left = origin.parse(found["container"])
        if not left or left.root != origin.checksum(root) or found["state"] not in LIVES:
            continue
        if origin.is_gone(left, now, found["submitted"]):
            control.cancel(job)
            rebooted = (left.host.boot, left.host.pids) != (now.boot, now.pids)
            why = f"{now.name} was rebooted meanwhile" if rebooted else f"its processes on {now.name} were killed"
            ended.append((job, left.container, why))
    return ended


def _lock(root: str) -> int:
    """A descriptor that no other sweep of this root has; -1 where none can be made, :data:`_HELD` where one has it."""
    try:
        os.makedirs(root, 0o700, exist_ok=True)
        lock = os.open(os.path.join(root, SWEEPING), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return -1
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return _HELD
    return lock


def _remember(root: str) -> None:
    """Note that Slurm was asked in this boot."""
    fresh = os.path.join(root, f"{SWEPT}.{os.getpid()}")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
            file.write(_boot())
        os.rename(fresh, os.path.join(root, SWEPT))
    except OSError:
        pass  # the next one asks again


def _boot() -> str:
    now = origin.here()
    return f"{now.boot}.{now.pids}\n"


def _leave(root: str, say: Say, keep: Sequence[int]) -> None:
    """Leave a process that asks Slurm, and asks again until it answers."""
    quiet = (fork.QUIET, fork.QUIET, 2 if os.isatty(2) else fork.QUIET)
    ignored = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}
    fork.left_alone(lambda: _stay(root, say), stdio=quiet, keep=keep, session=True, ignored=ignored)


def _stay(root: str, say: Say) -> None:
    """The process that was left; it has nothing open that somebody may wait for."""
    os.chdir("/")
    installed.hold()
    pause = _FIRST_PAUSE
    while is_due(root):
        try:
            _sweep(root, say, _LONG_PATIENCE)
            return
        except SlurmUnreachable:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
