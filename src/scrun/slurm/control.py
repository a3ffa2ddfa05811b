"""A job that is there: looked up, completed, cancelled. What asks for one is :mod:`scrun.slurm.allocation`.

libslurm ends the process that loads it where it finds no slurm.conf; in a worker that is seen, and said by the anchor.
"""

from __future__ import annotations

import grp
import os
import pwd
import sys

from scrun.errors import JobRefused, SlurmError, SlurmMissing, SlurmUnreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def not_built(missing: ImportError) -> SlurmMissing:
    """The error to raise when one of our extensions isn't there."""
    return SlurmMissing(
        f"scrun's part of libslurm can't be used ({missing}): where a C compiler and Slurm's headers are, build "
        "it for this Slurm: pip install --force-reinstall --no-cache-dir, from scrun's source"
    )


# Slurm's plugins look for the names of libslurm among those of the whole process.
sys.setdlopenflags(sys.getdlopenflags() | os.RTLD_GLOBAL | os.RTLD_DEEPBIND)
try:
    from scrun.slurm import _control  # type: ignore[attr-defined]  # built at installation
except ImportError as missing:
    raise not_built(missing) from missing

_control.start()

conf_path = _control.conf_path
Failed = _control.AllocationError
_UNREACHABLE = (*range(1000, 2000), *range(5000, 7000))  # slurm_errno.h: failures of communication, sockets, munge


def look_up(job_id: int) -> dict[str, Any]:
    """A job's allocation: ``job`` its id, ``nodes`` a node list, or empty while it is queued, ``node_count``, ``uid``,
    ``gid``, ``user``, ``group``, ``partition``, ``notice``, what a job_submit plugin told the user, and
    ``environment``, libslurm's part of what salloc would give for it, each ``NAME=value``
    (:mod:`scrun.slurm.job_environment` has the rest).

    Raises:
        JobRefused: there is no such job, or it has ended.
        SlurmError: slurmctld can't be reached.
    """
    return looked_up(job_id, lambda: _control.look_up(job_id))


def looked_up(job_id: int, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the call answers, or what it failed with, as :func:`look_up` has it."""
    try:
        return named(call())
    except Failed as error:
        if error.args[0] == _control.PENDING:
            return {"job": job_id, "nodes": ""}
        raise translated(error, f"job {job_id} can't be used") from error


def version() -> list[int]:
    """Slurm's release here, which is mostly its nodes' too: major and minor number, ``[26, 5]``."""
    return list(_control.version())


def cluster() -> str:
    """The name of the cluster that slurm.conf belongs to."""
    return str(_control.cluster())


def gpus(job_id: int) -> list[int]:
    """The numbers of the GPUs that a job was given, as its nodes count them; those of all its nodes together.

    Raises:
        SlurmError: slurmctld can't be reached.
    """
    found: set[int] = set()
    try:
        details = _control.gres_details(job_id)
    except Failed as error:
        raise translated(error, f"job {job_id} can't be looked up") from error
    for detail in details:  # gpu:a100:2(IDX:0-1),gpu:v100:0(IDX:)
        for part in detail.split("gpu:")[1:]:
            for numbers in part.partition("(IDX:")[2].partition(")")[0].split(","):
                low, _, high = numbers.partition("-")
                found.update(range(int(low), int(high or low) + 1) if low else ())
    return sorted(found)


def complete(job_id: int, exit_status: int) -> None:
    """Record the job as ended with that exit status (0 to 255); one that is gone already is no error.

    Raises:
        SlurmError: slurmctld can't be reached.
    """
    _do(f"job {job_id} can't be completed", _control.complete, job_id, exit_status << 8)


def cancel(job_id: int) -> None:
    """Cancel the job with all its steps; one that is gone already is no error.

    Raises:
        SlurmError: slurmctld can't be reached.
    """
    _do(f"job {job_id} can't be cancelled", _control.cancel, job_id)


def cancel_step(job_id: int, step_id: int) -> None:
    """Kill one step of a job that others use too; one that is gone already is no error.

    Raises:
        SlurmError: slurmctld can't be reached.
    """
    _do(f"step {job_id}.{step_id} can't be cancelled", _control.cancel_step, job_id, step_id)


def named(answer: dict[str, Any]) -> dict[str, Any]:
    """With the names of the job's user and group.

    The user is the job's: in a rootless podman scrun itself runs as uid 0 of a user namespace.
    """
    return {**answer, "user": _user(answer["uid"]), "group": _group(answer["gid"])}


def translated(error: Exception, what: str) -> SlurmError:
    """libslurm's error as one of ours."""
    number, text = error.args
    if number in _UNREACHABLE:
        from scrun.slurm import slurm_conf

        here = slurm_conf.authenticator(os.environ)
        advice = f"is it up (scontrol ping){f', and {here} here' if here else ''}?"
        return SlurmUnreachable(f"{what}: slurmctld can't be reached: {text}: {advice}")
    return JobRefused(f"{what}: {text}")


def _do(what: str, call: Any, *arguments: int) -> None:
    try:
        call(*arguments)
    except Failed as error:
        if error.args[0] not in _control.GONE:
            raise translated(error, what) from error


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
