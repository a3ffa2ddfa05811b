"""What may be changed of a job that is there, without asking Slurm yet."""

from __future__ import annotations

from scrun.errors import UsageError
from scrun.slurm import parsers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# What slurmctld may let a plain user change of his job (scontrol(1), update), by the name that SCRUN_<name> has, and
# the attribute of pyslurm.JobSubmitDescription. Most of them only while the job is queued: slurmctld decides, and says.
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
    """The changes as :func:`scrun.slurm.jobs.change` takes them.

    Raises:
        UsageError: there is no such property, or none that can be changed; or the value isn't one.
    """
    for name in changes:
        if name not in CHANGES:
            raise UsageError(f"{name} of a job that is there can't be changed: use one of {', '.join(CHANGES)}")
    return {name: minutes(value) if name == "TIMELIMIT" else value for name, value in changes.items()}


def minutes(value: str) -> int | str:
    """A time limit in any of sbatch's forms, in minutes, or UNLIMITED.

    Raises:
        UsageError: it is none.
    """
    try:
        found = parsers.minutes(value)
    except ValueError as error:
        raise UsageError(f"time limit {value!r} is not {error}") from None
    return "UNLIMITED" if found == parsers.UNLIMITED else found
