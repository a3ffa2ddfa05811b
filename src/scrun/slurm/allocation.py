"""Ask Slurm for the job that a container runs in, and look it up while it waits."""

from __future__ import annotations

from scrun.errors import JobRefused
from scrun.slurm import control, description

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scrun.slurm.answers import Allocation
    from scrun.slurm.layout import JobDescription

try:
    from scrun.slurm import _allocation, _jobs  # type: ignore[attr-defined]  # built at installation
except ImportError as missing:
    raise control.not_built(missing) from missing


def ask_for_job(job: JobDescription) -> Allocation:
    """Ask Slurm for an interactive allocation.

    Args:
        job: what is asked for.

    Returns:
        The same as :func:`scrun.slurm.control.look_up`.

    Raises:
        JobRefused: slurmctld refuses the job, an attribute has a wrong value, or the job is for another cluster.
        SlurmError: slurmctld can't be reached.
    """
    _check_cluster(str(job["fields"].pop("clusters", "")))
    try:
        return control.with_names(_allocation.allocate(_description(job)))
    except control.Failed as error:
        raise control.translated(error, "Slurm refused the job") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise JobRefused(f"the job can't be described to Slurm: {error}") from error


def look_up_queued(job_id: int, job: JobDescription) -> Allocation:
    """Look up a job that :func:`ask_for_job` has asked for and that was queued then.

    Args:
        job_id: the job's id.
        job: the argument of :func:`ask_for_job`.

    Returns:
        The same as :func:`ask_for_job`.

    Raises:
        JobRefused: the job has ended.
        SlurmError: slurmctld can't be reached.
    """
    job["fields"].pop("clusters", "")
    return control.looked_up(job_id, lambda: _allocation.look_up(job_id, _description(job)))


def _description(job: JobDescription) -> Any:
    return description.of_new_job(job["attributes"], job["fields"])


def _check_cluster(named: str) -> None:
    ours = control.cluster()
    if named and ours not in named.split(",") and named.lower() != "all":
        raise JobRefused(
            f"SCRUN_CLUSTERS={named!r} is not {ours}, the cluster of scrun's slurm.conf: "
            "name the other cluster's slurm.conf with -f or SLURM_CONF"
        )


def waiting_reason(job_id: int) -> str:
    """The reason why a job waits, as squeue's REASON; empty if there is none.

    Raises:
        JobRefused: the job has ended.
        SlurmError: slurmctld can't be reached.
    """
    try:
        state, why = _jobs.of_job(job_id)
    except control.Failed as error:
        raise control.translated(error, f"job {job_id} can't be looked up") from error
    if state not in ("PENDING", "RUNNING", "CONFIGURING", "SUSPENDED", "REQUEUED"):
        raise JobRefused(f"job {job_id} ended before the container could run: it was {state.lower()}")
    return str(why)
