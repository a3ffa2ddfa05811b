"""Give the job back: completed with the container's exit status, or cancelled."""

from __future__ import annotations

from scrun.lifecycle import wire
from scrun.slurm import control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.wire import Message


def run(channel: int) -> None:
    """Serve one request, see :func:`give_back`."""
    if message := wire.Reader(channel).next():
        give_back(channel, message)


def give_back(channel: int, message: Message) -> None:
    """``{"job": id, "status": exit status or None}``; without a status the job is cancelled."""
    if message["status"] is None:
        control.cancel(message["job"])
    else:
        control.complete(message["job"], message["status"])
    wire.send(channel, {"released": message["job"]})
