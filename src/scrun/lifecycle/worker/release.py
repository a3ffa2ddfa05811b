"""Give the job back: complete it with the container's exit status, or cancel it. The guests in the job end first."""

from __future__ import annotations

import os

from scrun.lifecycle.process import wire
from scrun.slurm import control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.process.wire import Message


def give_back(channel: int, container: Container, message: Message) -> None:
    """Give a job back; answer ``{"released": job id}``.

    Args:
        channel: the connection to the anchor.
        container: the container.
        message: ``job``, the id, and ``status``, the exit status; None to cancel the job.

    Raises:
        SlurmError: slurmctld can't be reached.
    """
    end_guests(container, message["job"])
    if message["status"] is None:
        control.cancel(message["job"])
    else:
        control.complete(message["job"], message["status"])
    wire.send(channel, {"released": message["job"]})


def end_guests(container: Container, job: int) -> None:
    """End the container's guests in that job; a worker's copy of the record may be too old to have the job's id."""
    if os.path.isdir(container.child("guests")):
        from scrun.lifecycle.container import guests

        guests.end(container, job)
