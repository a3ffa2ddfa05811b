"""Look up a job: whether it is there, whether it has its nodes, or which of them are out of service."""

from __future__ import annotations

from scrun.errors import JobRefused
from scrun.lifecycle.container.worker_messages import to_look
from scrun.lifecycle.process import wire
from scrun.slurm import control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.worker_messages import FromLook


def serve(channel: int) -> None:
    """Serve one order."""
    if not (order := wire.Reader(channel).next(to_look)):
        return
    if "nodes" in order:
        from scrun.slurm import jobs

        _say(channel, {"out_of_service": jobs.out_of_service(order["job"], order["nodes"])})
        return
    if "queued" in order:
        _say(channel, {"has_nodes": _has_nodes(order["job"])})
        return
    try:
        control.look_up(order["job"])
    except JobRefused:
        _say(channel, {"gone": True})
    else:
        _say(channel, {"gone": False})


def _has_nodes(job_id: int) -> bool:
    """Whether a job that was queued has its nodes now.

    Raises:
        JobRefused: it has ended, and how.
        SlurmError: slurmctld can't be reached.
    """
    try:
        return bool(control.look_up(job_id)["nodes"])
    except JobRefused:
        from scrun.slurm import allocation

        allocation.waiting_reason(job_id)
        raise


def _say(channel: int, message: FromLook) -> None:
    wire.send(channel, message)
