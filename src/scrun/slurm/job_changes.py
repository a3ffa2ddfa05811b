"""The properties of an existing job that may be changed, and their values, checked without asking Slurm."""

from __future__ import annotations

from scrun.errors import UsageError
from scrun.slurm import parsers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# Properties that slurmctld may let a plain user change (scontrol(1), update): the name in SCRUN_<name>, and the
# attribute of pyslurm.JobSubmitDescription. Most can change only while the job is queued; slurmctld decides that.
CHANGES = {
    "ACCOUNT": "account",
    "COMMENT": "comment",
    "CONSTRAINT": "constraints",
    "DEPENDENCY": "dependencies",
    "JOB_NAME": "name",
    "JOB_NODELIST": "required_nodes",
    "PARTITION": "partitions",
    "QOS": "qos",
    "RESERVATION": "reservations",
    "TIMELIMIT": "time_limit",
    "WCKEY": "wckey",
}


def checked(changes: Mapping[str, str]) -> dict[str, int | str]:
    """Check changes, and return them for :func:`scrun.slurm.jobs.change`.

    Raises:
        UsageError: a property doesn't exist or can't be changed, or a value is wrong.
    """
    for name in changes:
        if name not in CHANGES:
            raise UsageError(f"{name} of an existing job can't be changed: use one of {', '.join(CHANGES)}")
    return {name: time_limit(value) if name == "TIMELIMIT" else value for name, value in changes.items()}


def time_limit(value: str) -> int | str:
    """Parse a time limit in any of sbatch's forms; return minutes, or UNLIMITED.

    Raises:
        UsageError: the text is no time limit.
    """
    try:
        limit = parsers.minutes(value)
    except ValueError as error:
        raise UsageError(f"time limit {value!r} is not {error}") from None
    return "UNLIMITED" if limit == parsers.UNLIMITED else limit
