"""The container's job: asked for, looked up, completed, cancelled; the only module that imports pyslurm.

Importing it costs some 40 ms and 15 MB, so only workers do. libslurm ends the process that loads it where it finds no
slurm.conf; in a worker that is seen and said by the anchor.
"""

from __future__ import annotations

import grp
import pwd
from typing import Any

from scrun.errors import JobRefused, SlurmError, SlurmMissing

try:
    import pyslurm
except Exception as missing:  # ImportError, or whatever a build against another Slurm raises
    raise SlurmMissing(
        f"pyslurm can't be used ({missing}): install the one whose version is that of this Slurm (scontrol --version), "
        "e.g. pip install 'pyslurm==25.11.*'"
    ) from missing
try:
    from scrun.slurm import _allocation  # type: ignore[attr-defined]  # built at installation
except ImportError as missing:
    raise SlurmMissing(
        f"scrun was built without its part of libslurm ({missing}): where pyslurm, Cython and Slurm's headers are "
        "installed, run pip install --no-build-isolation --force-reinstall scrun"
    ) from missing

_ENDED = (
    "COMPLETED",
    "CANCELLED",
    "FAILED",
    "TIMEOUT",
    "NODE_FAIL",
    "PREEMPTED",
    "BOOT_FAIL",
    "DEADLINE",
    "OUT_OF_MEMORY",
)


def request(job: dict[str, Any]) -> dict[str, Any]:
    """Ask Slurm for an interactive allocation.

    Args:
        job: attributes of pyslurm.JobSubmitDescription; ``environment`` is the job's own.

    Returns:
        ``job`` its id, ``nodes`` a node list or empty while it is queued, ``node_count``, ``uid``, ``gid``,
        ``partition``, and ``environment``, the variables that salloc would give for it, each ``NAME=value``.

    Raises:
        JobRefused: slurmctld doesn't take it, or a value isn't one for its attribute.
        SlurmError: slurmctld can't be reached.
    """
    try:
        description = pyslurm.JobSubmitDescription(**job)
        answer = _allocation.allocate(description)
    except _allocation.AllocationError as error:
        raise _translated(error, "Slurm refused the job") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise JobRefused(f"the job can't be described to Slurm: {error}") from error
    return _named(answer)


def look_up(job_id: int) -> dict[str, Any]:
    """What :func:`request` returns, for a job that is there already, with ``reason`` while it waits.

    Raises:
        JobRefused: there is no such job, or it has ended.
        SlurmError: slurmctld can't be reached.
    """
    try:
        return {**_named(_allocation.look_up(job_id)), "reason": ""}
    except _allocation.AllocationError as error:
        if error.args[0] != _allocation.PENDING:
            raise _translated(error, f"job {job_id} can't be used") from error
    job = _job(job_id)
    if job.state in _ENDED:
        raise JobRefused(f"job {job_id} ended while it was queued: {job.state.lower()}")
    return {"job": job_id, "nodes": "", "reason": str(job.state_reason or "")}


def complete(job_id: int, exit_status: int) -> None:
    """Record the job as ended with that exit status (0 to 255); one that is gone already is no error.

    Raises:
        SlurmError: slurmctld can't be reached.
    """
    try:
        _allocation.complete(job_id, exit_status << 8)
    except _allocation.AllocationError as error:
        if error.args[0] not in _allocation.GONE:
            raise _translated(error, f"job {job_id} can't be completed") from error


def cancel(job_id: int) -> None:
    """Cancel the job with all its steps; one that is gone already is no error.

    Raises:
        SlurmError: slurmctld can't be reached.
    """
    try:
        pyslurm.Job(job_id).cancel()
    except pyslurm.RPCError as error:
        if error.errno not in _allocation.GONE:
            raise SlurmError(f"job {job_id} can't be cancelled: {error.msg}: try scancel {job_id}") from error


def cancel_step(job_id: int, step_id: int) -> None:
    """Kill one step of a job that others use too; one that is gone already is no error.

    Raises:
        SlurmError: slurmctld can't be reached.
    """
    try:
        pyslurm.JobStep(job_id, step_id).cancel()
    except pyslurm.RPCError as error:
        if error.errno not in _allocation.GONE:
            raise SlurmError(f"step {job_id}.{step_id} can't be cancelled: {error.msg}") from error


def _named(answer: dict[str, Any]) -> dict[str, Any]:
    """With the names of the job's user and group, and how many tasks it has.

    The user is the job's: in a rootless podman scrun itself runs as uid 0 of a user namespace.
    """
    names = dict(entry.partition("=")[::2] for entry in answer["environment"])
    tasks = names.get("SLURM_NTASKS") or names.get("SLURM_NPROCS") or answer["node_count"]
    return {**answer, "user": _user(answer["uid"]), "group": _group(answer["gid"]), "tasks": int(tasks)}


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _job(job_id: int) -> Any:
    try:
        return pyslurm.Job.load(job_id)
    except pyslurm.RPCError as error:
        raise SlurmError(f"job {job_id} can't be looked up: {error.msg}") from error


def _translated(error: Exception, what: str) -> SlurmError:
    number, text = error.args
    if number in range(1000, 2000):  # communication failures (slurm_errno.h)
        return SlurmError(f"{what}: slurmctld can't be reached: {text}: is it up (scontrol ping), and munge here?")
    return JobRefused(f"{what}: {text}")
