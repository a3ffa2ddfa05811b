"""Look up a job: whether it is there, whether it has its nodes, or which of them are out of service."""

from __future__ import annotations

import os

from scrun import identity
from scrun.errors import JobRefused
from scrun.lifecycle.container import queued_jobs
from scrun.lifecycle.container.worker_messages import to_look
from scrun.lifecycle.process import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.worker_messages import FromLook


def serve(channel: int, container: Container) -> None:
    """Serve one order."""
    if not (order := wire.Reader(channel).next(to_look)):
        return
    if "nodes" in order:
        from scrun.slurm import jobs

        _say(channel, {"out_of_service": jobs.out_of_service(order["job"], order["nodes"])})
        return
    if "queued" in order:
        _say(channel, {"has_nodes": _has_nodes(order["job"], os.path.dirname(container.path))})
        return
    from scrun.slurm import control

    try:
        control.look_up(order["job"])
    except JobRefused:
        _say(channel, {"gone": True})
    else:
        _say(channel, {"gone": False})


def _has_nodes(job_id: int, root: str) -> bool:
    """Whether a job that was queued has its nodes now.

    All of the user's jobs are asked for, for the other containers below ROOT; False also if one of them asks already.

    Raises:
        JobRefused: it has ended, and how.
        SlurmError: slurmctld can't be reached.
    """
    if not queued_jobs.begin_asking(root) or queued_jobs.is_queued(root, job_id):
        return False
    from scrun.slurm import control, jobs

    states = jobs.of_user(identity.real_uid())
    queued = [number for number, job in states.items() if job["state"] == "PENDING"]
    queued_jobs.write(root, queued)
    if job_id in queued:
        return False
    try:
        return bool(control.look_up(job_id)["nodes"])
    except JobRefused:
        from scrun.slurm import allocation

        allocation.waiting_reason(job_id)
        raise


def _say(channel: int, message: FromLook) -> None:
    wire.send(channel, message)
