"""A container in the job of another container whose namespace it shares, and the settings that count there.

The job stays as it was asked for. So a container whose own settings ask for other nodes or another size than the job's
gets a job of its own. Settings in the caller's environment were meant for all containers.
"""

from __future__ import annotations

from scrun.slurm.variables import BY_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Variables that set an amount for both job and step.
_SIZES = (
    *("CPUS_PER_GPU", "GPUS", "GPUS_PER_NODE", "GPUS_PER_SOCKET", "HINT", "MEM_PER_GPU", "NTASKS_PER_CORE"),
    *("NTASKS_PER_GPU", "NTASKS_PER_TRES"),
)
LABELS = ("JOB_NAME", "WCKEY", "SIGNAL", "POWER")  # variables that need no other job

ALONE = {"SLURM_NTASKS": "1", "SLURM_NNODES": "1"}  # a guest is one task on one node, whatever the job has


class SharedJob:
    """A job that a further container may join.

    Args:
        job: the job's id.
        container: the id of the container in that job, whose namespace is shared.
        kind: the kind of the shared namespace.
        asked: the variables that the job was asked for with, by their names.
        environment: the job's environment in that container, once the job has nodes.
    """

    def __init__(
        self, job: int, container: str, kind: str, asked: Mapping[str, str], environment: Mapping[str, str]
    ) -> None:
        self.job, self.container, self.kind, self.asked, self.environment = job, container, kind, asked, environment

    def __str__(self) -> str:
        return f"job {self.job} of container {self.container}, whose {self.kind} namespace it shares"


def of_job(names: Iterable[str]) -> list[str]:
    """The names, among these, of variables that set where a job runs or how much it has."""
    return [
        name
        for name in names
        if name in BY_NAME and BY_NAME[name].field and (not BY_NAME[name].srun or name in _SIZES) and name not in LABELS
    ]
