"""Give the job back: completed with the container's exit status, or cancelled. Its other containers end first."""

from __future__ import annotations

import os

from scrun.lifecycle import wire
from scrun.slurm import control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container import Container
    from scrun.lifecycle.wire import Message


def run(channel: int, container: Container) -> None:
    """Serve one request, see :func:`give_back`; ``left`` is the record of a container whose stage_out was killed."""
    if not (message := wire.Reader(channel).next()):
        return
    if "left" in message:
        from scrun.lifecycle.work import stage_out

        stage_out.give_up(message["left"])
    if "job" in message:
        give_back(channel, container, message)


def give_back(channel: int, container: Container, message: Message) -> None:
    """``{"job": id, "status": exit status or None}``; without a status the job is cancelled."""
    end_guests(container, message["job"])
    if message["status"] is None:
        control.cancel(message["job"])
    else:
        control.complete(message["job"], message["status"])
    wire.send(channel, {"released": message["job"]})


def end_guests(container: Container, job: int) -> None:
    """End the other containers that are steps of this one's job. (Its record may be older than that, in a worker.)"""
    if os.path.isdir(container.child("guests")):
        from scrun.lifecycle import guests

        guests.end(container, job)
