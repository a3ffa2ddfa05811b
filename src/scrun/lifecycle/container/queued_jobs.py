"""Which of the user's jobs were queued when one of the user's containers asked slurmctld last: a file below ROOT.

Each container whose job is queued looks again and again whether the job has nodes. A look of its own costs a process
with libslurm, 30 ms of processor time. So one asks for all, and the others read what it has written. Only "still
queued" is taken from there; all else a container asks itself.
"""

from __future__ import annotations

import os
import time

from scrun.digest import sha256
from scrun.lifecycle.container import root_files

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
    root_files.replace(_path(root), f"{time.time()}\n{' '.join(map(str, jobs))}")


def begin_asking(root: str) -> bool:
    """Begin to ask for all of the user's containers, until this process ends; False if another process does so."""
    return root_files.lock(f"{_path(root)}.lock") != root_files.HELD


def _path(root: str) -> str:
    """The file for this Slurm: another cluster has other jobs of the same numbers."""
    slurm = "\0".join(os.environ.get(name, "") for name in ("SLURM_CONF", "SLURM_CONF_SERVER"))
    return f"{root}/.queued-{sha256(slurm.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
