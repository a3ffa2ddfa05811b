"""Jobs that are there already: what Slurm says of a user's, and changes that it lets him make to one."""

from __future__ import annotations

from scrun.errors import JobRefused, UsageError
from scrun.slurm import control  # looks for what all of our parts of libslurm need
from scrun.slurm.changes import CHANGES
from scrun.slurm.pyslurm_parts import part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

try:
    from scrun.slurm import _jobs  # type: ignore[attr-defined]  # built at installation
except ImportError as missing:
    raise control.not_built(missing) from missing


def of_user(uid: int) -> dict[int, dict[str, Any]]:
    """The user's jobs by their ids.

    Of each ``state``, ``reason``, ``partition`` and ``container`` (ContainerID) in squeue's words, and ``submitted`` in
    seconds since 1970.

    Raises:
        SlurmError: slurmctld can't be reached.
    """
    try:
        found: dict[int, dict[str, Any]] = _jobs.of_user(uid)
    except control.Failed as error:
        raise control.translated(error, f"the jobs of user {uid} can't be looked up") from error
    return found


def change(job_id: int, changes: Mapping[str, int | str]) -> None:
    """Change properties of the job, all or none, given as :func:`scrun.slurm.changes.checked` has them.

    Raises:
        UsageError: a value isn't one for its property.
        JobRefused: slurmctld doesn't let this user change that of this job.
    """
    named = ", ".join(f"{name}={value}" for name, value in changes.items())
    job_class = part("pyslurm.core.job.job", "Job")
    description = part("pyslurm.core.job.submission", "JobSubmitDescription")
    rpc_error = part("pyslurm.core.error", "RPCError")
    try:
        job_class(job_id).modify(description(**{CHANGES[name]: value for name, value in changes.items()}))
    except rpc_error as error:
        too_long = "TIMELIMIT" in changes and "permission denied" in error.msg
        hint = ": a user can lower the limit of a job that runs, and not raise it" if too_long else ""
        raise JobRefused(f"Slurm doesn't change {named} of job {job_id}: {error.msg}{hint}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{named} can't be described to Slurm: {error}") from error
