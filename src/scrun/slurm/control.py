"""Look up, complete or cancel an existing job. :mod:`scrun.slurm.allocation` asks for a new one.

If libslurm finds no slurm.conf, it ends the process that loads it. So a worker imports this module, and the anchor
reports what the worker printed.
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

    from scrun.slurm.answers import Allocation


def not_built(missing: ImportError) -> SlurmMissing:
    """The error for a missing extension module of scrun's."""
    return SlurmMissing(
        f"scrun's part of libslurm can't be used ({missing}): where a C compiler and Slurm's headers are, build "
        "it for this Slurm: pip install --force-reinstall --no-cache-dir, from scrun's source"
    )


# Slurm's plugins look for libslurm's symbols among the symbols of the whole process.
sys.setdlopenflags(sys.getdlopenflags() | os.RTLD_GLOBAL | os.RTLD_DEEPBIND)
try:
    from scrun.slurm import _control  # type: ignore[attr-defined]  # built at installation
except ImportError as missing:
    raise not_built(missing) from missing

_control.start()

conf_path = _control.conf_path
Failed = _control.AllocationError
_UNREACHABLE = (*range(1000, 2000), *range(5000, 7000))  # slurm_errno.h: errors of communication, sockets, munge


def look_up(job_id: int) -> Allocation:
    """Look up a job's allocation; :mod:`scrun.slurm.job_environment` adds the rest of the job's environment.

    Raises:
        JobRefused: the job doesn't exist, or has ended.
        SlurmError: slurmctld can't be reached.
    """
    return looked_up(job_id, lambda: _control.look_up(job_id))


def looked_up(job_id: int, call: Callable[[], Allocation]) -> Allocation:
    """Return the result of ``call``, or raise its error, as :func:`look_up` does."""
    try:
        return with_names(call())
    except Failed as error:
        if error.args[0] == _control.PENDING:
            return {"job": job_id, "nodes": ""}
        raise translated(error, f"job {job_id} can't be used") from error


def slurm_release() -> list[int]:
    """The release of this host's Slurm, usually that of the nodes too: major and minor number, ``[26, 5]``."""
    return list(_control.version())


def cluster() -> str:
    """The name of the cluster that slurm.conf belongs to."""
    return str(_control.cluster())


def job_gpus(job_id: int) -> list[int]:
    """The numbers of a job's GPUs, as its nodes count them; those of all its nodes together.

    Raises:
        SlurmError: slurmctld can't be reached.
    """
    numbers_of_gpus: set[int] = set()
    try:
        details = _control.gres_details(job_id)
    except Failed as error:
        raise translated(error, f"job {job_id} can't be looked up") from error
    for detail in details:  # gpu:a100:2(IDX:0-1),gpu:v100:0(IDX:)
        for part in detail.split("gpu:")[1:]:
            for numbers in part.partition("(IDX:")[2].partition(")")[0].split(","):
                low, _, high = numbers.partition("-")
                numbers_of_gpus.update(range(int(low), int(high or low) + 1) if low else ())
    return sorted(numbers_of_gpus)


def complete(job_id: int, exit_status: int) -> None:
    """Record the job as ended with an exit status (0 to 255); a job that has ended is no error.

    Raises:
        SlurmError: slurmctld can't be reached.
    """
    _do(f"job {job_id} can't be completed", _control.complete, job_id, exit_status << 8)


def cancel(job_id: int) -> None:
    """Cancel the job with all its steps; a job that has ended is no error.

    Raises:
        SlurmError: slurmctld can't be reached.
    """
    _do(f"job {job_id} can't be cancelled", _control.cancel, job_id)


def cancel_step(job_id: int, step_id: int) -> None:
    """Kill one step of a job; a step that has ended is no error.

    Raises:
        SlurmError: slurmctld can't be reached.
    """
    _do(f"step {job_id}.{step_id} can't be cancelled", _control.cancel_step, job_id, step_id)


def with_names(answer: Allocation) -> Allocation:
    """Add the names of the job's user and group to an answer.

    The answer's ids are used, because in a rootless podman scrun itself runs as uid 0 of a user namespace.
    """
    return {**answer, "user": _user(answer["uid"]), "group": _group(answer["gid"])}


def translated(error: Exception, what: str) -> SlurmError:
    """Translate libslurm's error into a SlurmUnreachable or a JobRefused; ``what`` begins the message."""
    number, text = error.args
    if number in _UNREACHABLE:
        from scrun.slurm import slurm_conf

        here = slurm_conf.authenticator(os.environ)
        advice = f"is it up (scontrol ping){f', and {here} here' if here else ''}?"
        return SlurmUnreachable(f"{what}: slurmctld can't be reached: {text}: {advice}")
    return JobRefused(f"{what}: {text}")


def _do(what: str, call: Callable[..., object], *arguments: int) -> None:
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
