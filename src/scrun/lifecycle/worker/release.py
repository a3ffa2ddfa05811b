"""Give the job back: complete it with the container's exit status, or cancel it. The guests in the job end first."""

from __future__ import annotations

import os

from scrun.lifecycle.process import wire
from scrun.slurm import control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.worker_messages import GiveBack, Released


def give_back(channel: int, container: Container, order: GiveBack) -> None:
    """Complete the job with the container's exit status, or cancel it, and tell the anchor.

    Raises:
        SlurmError: slurmctld can't be reached.
    """
    end_guests(container, order["job"])
    if order["status"] is None:
        control.cancel(order["job"])
    else:
        control.complete(order["job"], order["status"])
    released: Released = {"released": order["job"]}
    wire.send(channel, released)


def end_guests(container: Container, job: int) -> None:
    """End the container's guests in that job; a worker's copy of the record may be too old to have the job's id."""
    if os.path.isdir(container.child("guests")):
        from scrun.lifecycle.container import guests

        guests.end(container, job)
