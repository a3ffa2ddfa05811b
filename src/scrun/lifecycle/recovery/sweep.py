"""End jobs whose containers are gone: after a reboot of this host, or when all of a container's processes were killed.

There are two ways, both cheap. The first looks at the containers' directories, in each create and list. If nobody holds
a directory's lock and the record says that a job is owed, a debtor ends the job. The second asks Slurm for the user's
jobs, once in each boot. A mark in ``--root`` tells that this was done. After a reboot the mark is gone, because
``--root`` is on a file system that a reboot empties, or the mark names another boot.
"""

from __future__ import annotations

import os
import time

from scrun import identity, signal, small_file
from scrun.errors import ScrunError, SlurmMissing, SlurmUnreachable
from scrun.lifecycle.container import origin, root_files, status
from scrun.lifecycle.container.directory import PAID, STATE, Container
from scrun.lifecycle.process import fork, installed, processes
from scrun.lifecycle.recovery import debtor, recovery
from scrun.lifecycle.worker import ask_slurm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypedDict

    class Ended(TypedDict):
        """A job that was ended, because its container is gone."""

        job: int
        container: str
        why: str

    Say = Callable[[str, str], None]

SWEPT, SWEEPING = ".swept", ".sweeping"  # no container's id begins with a dot
# Seconds to wait for Slurm's answer, if a caller waits, and in a process that nobody waits for.
_PATIENCE, _LONG_PATIENCE = 5.0, 180.0
_LOOK = 0.02  # seconds between two looks whether a container's lock is free
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0  # seconds between two tries of a process that nobody waits for
# The states of a job (squeue(1)) in which it has resources, or may get some.
LIVES = ("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "REQUEUED", "RESIZING")


def sweep_now(root: str, say: Say, *, make: bool = False) -> list[str]:
    """Sweep in both ways while the caller waits. If Slurm doesn't answer, leave a process that asks until it does.

    Args:
        root: the directory of the containers.
        say: is called with a level and a message.
        make: whether a root directory that doesn't exist may be made. It may have been an engine's, which a reboot
            removed, or a person may have mistyped it.

    Returns:
        The ids of the containers whose jobs were ended by the second way.
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


def sweep_in_background(root: str, say: Say, *, but: str = "", keep: Sequence[int] = ()) -> None:
    """Sweep in both ways without keeping the caller waiting.

    Args:
        root: the directory of the containers.
        say: is called with a level and a message, here and in the process that is left.
        but: the id of a container to skip.
        keep: the descriptors that ``say`` needs.
    """
    end_lost(root, say, but=but)
    if is_due(root):
        _leave(root, say, keep)


def is_due(root: str) -> bool:
    """Whether Slurm hasn't been asked since this host's boot."""
    try:
        return small_file.read(os.path.join(root, SWEPT), follow=False).decode("ascii", "replace") != _boot()
    except OSError:
        return True


def end_lost(root: str, say: Say, *, but: str = "") -> None:
    """Leave a debtor for each container of this host that has lost all its processes and whose job is still owed."""
    try:
        names = os.listdir(root)
    except OSError:
        return
    for name in names:
        if name != but and identity.is_valid_id(name):
            end_if_lost(root, name, say)


def end_if_lost(root: str, name: str, say: Say, *, patience: float = 0.0) -> None:
    """Leave a debtor for one container, if it has lost all its processes and its job is still owed.

    Args:
        root: the directory of the containers.
        name: the container's id.
        say: is called with a level and a message.
        patience: seconds to wait for a process that holds the container's lock.
    """
    try:
        container = Container.open(root, name, load=False)
    except ScrunError:
        return
    try:
        # A container without a record is only being made, so its lock isn't touched.
        if not os.access(STATE, os.F_OK, dir_fd=container.descriptor) or not _is_free(container, patience):
            return
        container.load()
        if _owes(container):
            job = container.record["job"]
            say("error", f"job {job} of container {name!r} is ended, since all its processes here were killed")
            debtor.leave(container)
    except (ScrunError, OSError):
        pass  # the container is gone meanwhile, or damaged; list and delete tell that
    finally:
        os.close(container.descriptor)


def lost(root: str) -> list[str]:
    """The ids of this host's containers that have lost all their processes and whose job is still owed; end none."""
    ids = []
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
                    ids.append(name)
        except (ScrunError, OSError):
            pass  # the container is gone meanwhile, or damaged
        finally:
            os.close(container.descriptor)
    return ids


def _is_free(container: Container, patience: float) -> bool:
    until = time.monotonic() + patience
    while not container.lock(wait=False):
        if time.monotonic() >= until:
            return False
        time.sleep(_LOOK)
    return True


def _owes(container: Container) -> bool:
    """Whether a container whose lock is free still has a job or a step, and no debtor yet."""
    record, now = container.record, origin.here()
    written = origin.parse(f"@{record.get('host', '')}.0.0.0")
    if not written or not origin.is_same_machine(written.host, now):
        return False  # the file system is shared, and another host's lock may be invisible here
    if (written.host.boot, written.host.pids) != (now.boot, now.pids):
        record.update({"step_pid": 0, "step_started": 0, "debtor": [0, 0]})  # these pids are other processes' by now
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
    if lock == root_files.HELD:
        return []  # another process does it now
    try:
        ended = ask_slurm.ask(lambda: _end_left(root), patience)
        for one in ended:
            say("error", f"job {one['job']} of container {one['container']!r} is ended: {one['why']}")
        root_files.replace(os.path.join(root, SWEPT), _boot())  # Slurm was asked in this boot
        return [one["container"] for one in ended]
    finally:
        if lock >= 0:
            os.close(lock)


def _end_left(root: str) -> list[Ended]:
    """End the jobs of containers that are gone, in a child process; return them."""
    from scrun.slurm import control, jobs

    now = origin.here()
    ended: list[Ended] = []
    for number, job in jobs.of_user(identity.real_uid()).items():
        left = origin.parse(job["container"])
        if not left or left.root != origin.checksum(root) or job["state"] not in LIVES:
            continue
        if origin.is_gone(left, now, job["submitted"]):
            control.cancel(number)
            rebooted = (left.host.boot, left.host.pids) != (now.boot, now.pids)
            why = f"{now.name} was rebooted meanwhile" if rebooted else f"its processes on {now.name} were killed"
            ended.append({"job": number, "container": left.container, "why": why})
    return ended


def _lock(root: str) -> int:
    """Take the lock for sweeps of this root (:func:`root_files.lock`)."""
    try:
        os.makedirs(root, 0o700, exist_ok=True)
    except OSError:
        return -1
    return root_files.lock(os.path.join(root, SWEEPING))


def _boot() -> str:
    now = origin.here()
    return f"{now.boot}.{now.pids}\n"


def _leave(root: str, say: Say, keep: Sequence[int]) -> None:
    """Leave a process that asks Slurm, and asks again until it answers."""
    quiet = (fork.QUIET, fork.QUIET, 2 if os.isatty(2) else fork.QUIET)
    ignored = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}
    fork.left_alone(lambda: _stay(root, say), stdio=quiet, keep=keep, session=True, ignored=ignored)


def _stay(root: str, say: Say) -> None:
    """Ask Slurm until it answers, in a process that holds nothing open that somebody may wait for."""
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
