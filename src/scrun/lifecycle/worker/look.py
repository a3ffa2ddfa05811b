"""Look up a job: whether it is there, its state, or which of its nodes are out of service."""

from __future__ import annotations

from scrun import identity
from scrun.errors import JobRefused
from scrun.lifecycle.process import wire
from scrun.slurm import control


def serve(channel: int) -> None:
    """Serve one request.

    The answer to ``{"job": id}`` is ``{"gone": …}``; with ``state`` it is ``{"state": …}``, squeue's word or nothing;
    with ``nodes``, a node list or nothing, ``{"out_of_service": {node: reason}}``.
    """
    if not (message := wire.Reader(channel).next()):
        return
    if message.get("state"):
        from scrun.slurm import jobs

        job = jobs.of_user(identity.real_uid()).get(message["job"])
        wire.send(channel, {"state": job["state"] if job else ""})
        return
    if "nodes" in message:
        from scrun.slurm import jobs

        wire.send(channel, {"out_of_service": jobs.out_of_service(message["job"], message["nodes"])})
        return
    try:
        control.look_up(message["job"])
    except JobRefused:
        wire.send(channel, {"gone": True})
    else:
        wire.send(channel, {"gone": False})
