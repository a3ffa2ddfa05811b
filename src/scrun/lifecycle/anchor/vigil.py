"""Watch over the job of a container that is created and not started: nothing else would notice that it has ended."""

from __future__ import annotations

from scrun.errors import JobRefused
from scrun.lifecycle.anchor.worker import Worker
from scrun.lifecycle.container import status
from scrun.lifecycle.container.worker_messages import from_look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.anchor.view import Anchor
    from scrun.lifecycle.container.worker_messages import FromLook

_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 30.0  # seconds between two looks, each a worker's


def keep(anchor: Anchor) -> None:
    """Have the container end when its job does before it is started."""
    pause, gone = _FIRST_PAUSE, False

    def look() -> None:
        if anchor.status != status.CREATED or "exit_status" in anchor.record:
            return
        if job := anchor.record.get("job"):
            Worker(anchor.loop, anchor.container, "look", from_look, said=said, ended=ended).send({"job": job})
        else:  # slurmctld is slow to say that it takes the job
            anchor.loop.after(pause, look)

    def said(message: FromLook) -> None:
        nonlocal gone
        gone = "gone" in message and message["gone"]  # an error is that slurmctld doesn't answer

    def ended() -> None:
        nonlocal pause
        if gone and anchor.status == status.CREATED:
            error = JobRefused(f"job {anchor.record['job']} has ended before the container was started")
            anchor.happen("hopeless", error)
        else:
            pause = min(1.5 * pause, _LONGEST_PAUSE)
            anchor.loop.after(pause, look)

    anchor.loop.after(pause, look)
