"""The job that a container runs in, asked for through pyslurm; the only module that imports it.

Importing it costs some 40 ms and 15 MB, so only a worker does, and only for this.
"""

from __future__ import annotations

from scrun.errors import JobRefused, SlurmError, SlurmMissing
from scrun.slurm import control  # looks for what both parts of libslurm need

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

try:
    import pyslurm

    from scrun.slurm import _allocation  # type: ignore[attr-defined]  # built at installation
except Exception as missing:  # ImportError, or whatever a build against another Slurm raises
    raise SlurmMissing(
        f"pyslurm can't be used ({missing}): install the one whose version is that of this Slurm (scontrol --version), "
        "e.g. pip install 'pyslurm==25.11.*'"
    ) from missing


def request(job: dict[str, Any]) -> dict[str, Any]:
    """Ask Slurm for an interactive allocation.

    Args:
        job: attributes of pyslurm.JobSubmitDescription.

    Returns:
        What :func:`scrun.slurm.control.look_up` does.

    Raises:
        JobRefused: slurmctld doesn't take it, or a value isn't one for its attribute.
        SlurmError: slurmctld can't be reached.
    """
    try:
        # Not "ALL", pyslurm's default: the job's environment is for batch scripts, and there is none.
        description = pyslurm.JobSubmitDescription(**{"environment": {"SCRUN": "1"}, **job})
        return control.named(_allocation.allocate(description))
    except control.Failed as error:
        raise control.translated(error, "Slurm refused the job") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise JobRefused(f"the job can't be described to Slurm: {error}") from error


def reason(job_id: int) -> str:
    """Why a job waits, in Slurm's word (squeue's REASON); empty when there is none.

    Raises:
        JobRefused: it has ended.
        SlurmError: slurmctld can't be reached.
    """
    try:
        job = pyslurm.Job.load(job_id)
    except pyslurm.RPCError as error:
        raise SlurmError(f"job {job_id} can't be looked up: {error.msg}") from error
    if job.state not in ("PENDING", "RUNNING", "CONFIGURING", "SUSPENDED", "REQUEUED"):
        raise JobRefused(f"job {job_id} ended before the container could run: it was {job.state.lower()}")
    return str(job.state_reason or "")
