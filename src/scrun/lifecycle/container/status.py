"""What a container may be, and what may be done with it then.

The four statuses are the runtime-spec's (runtime.md, State). The predicates are the whole of the rules; the
operations ask them and nothing else, and the tests hold every operation in every status against them. There is none for
delete: scrun's implies --force (scrun(1)), and is always allowed.
"""

from __future__ import annotations

from scrun.errors import WrongStatus

CREATING = "creating"
CREATED = "created"
RUNNING = "running"
PAUSED = "paused"  # runc's and crun's addition to the specification's four
STOPPED = "stopped"

# What was told to end at once (SIGKILL, delete) and is still in one of these: nothing is begun in it any more.
# Nobody is told of it as a status, since the processes are there; runc's kill doesn't wait for their end either.
ENDING = "being killed"

KILLED = 128 + 9  # the exit status of what SIGKILL has ended, or what nobody knows the end of

SUSPENDED = "SUSPENDED"  # Slurm's state of a job

ALL = (CREATING, CREATED, RUNNING, PAUSED, STOPPED)


def can_start(status: str) -> bool:
    """Only what was created and never started can be started."""
    return status == CREATED


def can_kill(status: str) -> bool:
    """A signal needs a process, or one that is about to be."""
    return status in (CREATED, RUNNING, PAUSED)


def can_pause(status: str) -> bool:
    """Only what runs can be paused."""
    return status == RUNNING


def can_resume(status: str) -> bool:
    """Only what is paused can go on."""
    return status == PAUSED


def can_watch(status: str) -> bool:
    """Until it has ended; what waits for its job uses nothing yet."""
    return status in (CREATED, RUNNING, PAUSED)


def can_update(status: str) -> bool:
    """As long as its job may be there."""
    return status in (CREATED, RUNNING, PAUSED)


def can_ps(status: str) -> bool:
    """Whether there are processes to be listed."""
    return status in (RUNNING, PAUSED)


def can_exec(status: str) -> bool:
    """A further process needs the container's namespaces: a container that runs."""
    return status == RUNNING


def why_no_nodes(job: int | None) -> str:
    """Why a container that Slurm has given no nodes has none; ``job`` is the container's job, if it has one by now."""
    return f"its job {job} is queued" if job else "Slurm hasn't answered yet that it takes its job"


def cannot_pause(container_id: str, why: str) -> WrongStatus:
    """The error for a pause that isn't possible; ``why`` is what the container is now (it is stopped)."""
    return WrongStatus(f"cannot pause container {container_id!r}: container not running: {why}")


def cannot_resume(container_id: str, now: str) -> WrongStatus:
    """The error for a resume that isn't possible, because of what the container is ``now``."""
    return WrongStatus(f"cannot resume container {container_id!r}: container not paused: it is {now}")
