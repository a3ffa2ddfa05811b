"""A container in the job of another one, whose namespace it shares: what of its own requests counts there.

The job is as it was asked for. What says where and how much is the job's, so a container that says so itself, in other
words than the job was asked for with, has a job of its own. What the caller's environment says was said to all of them.
"""

from __future__ import annotations

from scrun.slurm.variables import BY_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Of what is the job's and the step's, this is how much they have.
_SIZES = (
    *("CPUS_PER_GPU", "GPUS", "GPUS_PER_NODE", "GPUS_PER_SOCKET", "HINT", "MEM_PER_GPU", "NTASKS_PER_CORE"),
    *("NTASKS_PER_GPU", "NTASKS_PER_TRES"),
)
LABELS = ("JOB_NAME", "WCKEY", "SIGNAL", "POWER")  # no reason to be elsewhere

ALONE = {"SLURM_NTASKS": "1", "SLURM_NNODES": "1"}  # one task on one node, whatever the job has


class SharedJob:
    """``job`` is the one that ``container`` is in, whose namespace of ``kind`` is shared, and ``asked`` what it was
    asked for with: values by the variables' names. ``environment`` is what that container has of it, once it has nodes.
    """

    def __init__(
        self, job: int, container: str, kind: str, asked: Mapping[str, str], environment: Mapping[str, str]
    ) -> None:
        self.job, self.container, self.kind, self.asked, self.environment = job, container, kind, asked, environment

    def __str__(self) -> str:
        return f"job {self.job} of container {self.container}, whose {self.kind} namespace it shares"


def of_job(names: Iterable[str]) -> list[str]:
    """Of these variables those that say where a job is to run, and how much it is to have."""
    return [
        name
        for name in names
        if name in BY_NAME and BY_NAME[name].field and (not BY_NAME[name].srun or name in _SIZES) and name not in LABELS
    ]
