"""Give the job back: completed with the container's exit status, or cancelled."""

from __future__ import annotations

from scrun.lifecycle import wire
from scrun.slurm import control


def run(channel: int) -> None:
    """Serve one request, ``{"job": id, "status": exit status or None}``; without a status the job is cancelled."""
    message = wire.Reader(channel).next()
    if not message:
        return
    if message["status"] is None:
        control.cancel(message["job"])
    else:
        control.complete(message["job"], message["status"])
    wire.send(channel, {"released": message["job"]})
