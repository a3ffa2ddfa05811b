"""Give the job back: completed with the container's exit status, or cancelled. Its other containers end first."""

from __future__ import annotations

import os

from scrun.lifecycle.process import wire
from scrun.slurm import control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.worker_messages import GiveBack, Released


def give_back(channel: int, container: Container, order: GiveBack) -> None:
    """Complete the job with the status, or cancel it, and say so."""
    end_guests(container, order["job"])
    if order["status"] is None:
        control.cancel(order["job"])
    else:
        control.complete(order["job"], order["status"])
    released: Released = {"released": order["job"]}
    wire.send(channel, released)


def end_guests(container: Container, job: int) -> None:
    """End the other containers that are steps of this one's job. (Its record may be older than that, in a worker.)"""
    if os.path.isdir(container.child("guests")):
        from scrun.lifecycle.container import guests

        guests.end(container, job)
