"""List a user's jobs, and change a job."""

from __future__ import annotations

from scrun.errors import JobRefused, UsageError
from scrun.slurm import control, description
from scrun.slurm.job_changes import CHANGES
from scrun.slurm.srun import expand_nodes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrun.slurm.answers import JobState

try:
    from scrun.slurm import _allocation, _jobs  # type: ignore[attr-defined]  # built at installation
except ImportError as missing:
    raise control.not_built(missing) from missing


def of_user(uid: int) -> dict[int, JobState]:
    """The user's jobs by their ids.

    Raises:
        SlurmError: slurmctld can't be reached.
    """
    try:
        jobs: dict[int, JobState] = _jobs.of_user(uid)
    except control.Failed as error:
        raise control.translated(error, f"the jobs of user {uid} can't be looked up") from error
    return jobs


def out_of_service(job_id: int, nodes: str) -> dict[str, str]:
    """The nodes of a job that Slurm has taken out of service, each with its reason (sinfo -R).

    Args:
        job_id: the job.
        nodes: its nodes, where they are known; else slurmctld is asked, as long as it remembers the job.

    Raises:
        SlurmError: slurmctld can't be reached, or doesn't know the job.
    """
    try:
        theirs = expand_nodes(nodes or _jobs.nodes_of(job_id))
        reasons: dict[str, str] = _jobs.out_of_service() if theirs else {}
    except control.Failed as error:
        raise control.translated(error, f"the nodes of job {job_id} can't be looked up") from error
    return {node: reasons[node] for node in theirs if node in reasons}


def change(job_id: int, changes: Mapping[str, int | str]) -> None:
    """Change properties of a job, all or none; :func:`scrun.slurm.job_changes.checked` returns ``changes``.

    Raises:
        UsageError: a property has a wrong value.
        JobRefused: slurmctld doesn't let this user change that of this job.
    """
    named = ", ".join(f"{name}={value}" for name, value in changes.items())
    try:
        described = description.of_changes({CHANGES[name]: value for name, value in changes.items()})
        _allocation.update(job_id, described)
    except control.Failed as error:
        why = error.args[1]
        too_long = "TIMELIMIT" in changes and "permission denied" in why
        hint = ": a user can lower the limit of a job that runs, and not raise it" if too_long else ""
        raise JobRefused(f"Slurm doesn't change {named} of job {job_id}: {why}{hint}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{named} can't be described to Slurm: {error}") from error
