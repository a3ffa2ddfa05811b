"""Which of the user's jobs were queued when one of the user's containers asked slurmctld last: a file below ROOT.

Each container whose job is queued looks again and again whether the job has nodes. A look of its own costs a process
with libslurm, 30 ms of processor time: with 200 such containers that was a fifth of a processor. So one asks for all,
and the others read what it has written. Only "still queued" is taken from there; all else a container asks itself.
"""

from __future__ import annotations

import fcntl
import os
import time

from scrun.digest import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

FRESH = 5.0  # seconds for which an answer counts


def is_queued(root: str, job: int) -> bool:
    """Whether the job is known to have been queued a moment ago."""
    try:
        with open(_path(root), encoding="utf-8") as file:
            when, _, jobs = file.read().partition("\n")
        return 0 <= time.time() - float(when) < FRESH and str(job) in jobs.split(" ")
    except (OSError, ValueError):
        return False


def write(root: str, jobs: Iterable[int]) -> None:
    """Write down that these jobs are queued now, and no others of the user's."""
    path = _path(root)
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
            file.write(f"{time.time()}\n{' '.join(map(str, jobs))}")
        os.rename(temporary, path)
    except OSError:
        pass  # then each asks for itself


def begin_asking(root: str) -> bool:
    """Begin to ask for all of the user's containers, until this process ends; False if another process does so."""
    try:
        lock = os.open(f"{_path(root)}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return True  # nobody can write there
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return False
    return True


def _path(root: str) -> str:
    """The file for this Slurm: another cluster has other jobs of the same numbers. No container's id begins so."""
    slurm = "\0".join(os.environ.get(name, "") for name in ("SLURM_CONF", "SLURM_CONF_SERVER"))
    return f"{root}/.queued-{sha256(slurm.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
