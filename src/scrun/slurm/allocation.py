"""The job that a container runs in: asked for, and looked up while it waits."""

from __future__ import annotations

from scrun.errors import JobRefused
from scrun.slurm import control, description

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

try:
    from scrun.slurm import _allocation, _jobs  # type: ignore[attr-defined]  # built at installation
except ImportError as missing:
    raise control.not_built(missing) from missing


def request(job: dict[str, Any]) -> dict[str, Any]:
    """Ask Slurm for an interactive allocation.

    Args:
        job: attributes of pyslurm.JobSubmitDescription, and under ``descriptor`` fields of Slurm's job_desc_msg_t.

    Returns:
        What :func:`scrun.slurm.control.look_up` does.

    Raises:
        JobRefused: slurmctld doesn't take it, a value isn't one for its attribute, or it is for another cluster.
        SlurmError: slurmctld can't be reached.
    """
    _check_cluster(job["descriptor"].pop("clusters", ""))
    try:
        return control.named(_allocation.allocate(_description(job)))
    except control.Failed as error:
        raise control.translated(error, "Slurm refused the job") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise JobRefused(f"the job can't be described to Slurm: {error}") from error


def look_up(job_id: int, job: dict[str, Any]) -> dict[str, Any]:
    """What :func:`request` returns, of a job that was asked for so and was queued then.

    Raises:
        JobRefused: it has ended.
        SlurmError: slurmctld can't be reached.
    """
    job["descriptor"].pop("clusters", "")
    return control.looked_up(job_id, lambda: _allocation.look_up(job_id, _description(job)))


def _description(job: dict[str, Any]) -> Any:
    attributes = dict(job)
    fields = attributes.pop("descriptor")
    return description.of_new_job(attributes, fields)


def _check_cluster(named: str) -> None:
    ours = control.cluster()
    if named and ours not in named.split(",") and named.lower() != "all":
        raise JobRefused(
            f"SCRUN_CLUSTERS={named!r} is another cluster than {ours}, which scrun's slurm.conf is for: "
            "name the other one's slurm.conf with -f or SLURM_CONF"
        )


def reason(job_id: int) -> str:
    """Why a job waits, in Slurm's word (squeue's REASON); empty when there is none.

    Raises:
        JobRefused: it has ended.
        SlurmError: slurmctld can't be reached.
    """
    try:
        state, why = _jobs.of_job(job_id)
    except control.Failed as error:
        raise control.translated(error, f"job {job_id} can't be looked up") from error
    if state not in ("PENDING", "RUNNING", "CONFIGURING", "SUSPENDED", "REQUEUED"):
        raise JobRefused(f"job {job_id} ended before the container could run: it was {state.lower()}")
    return str(why)
