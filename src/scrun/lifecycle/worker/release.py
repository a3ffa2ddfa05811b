"""Give the job back: completed with the container's exit status, or cancelled. Its other containers end first."""

from __future__ import annotations

import os

from scrun.lifecycle.process import wire
from scrun.slurm import control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.process.wire import Message


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
        from scrun.lifecycle.container import guests

        guests.end(container, job)
