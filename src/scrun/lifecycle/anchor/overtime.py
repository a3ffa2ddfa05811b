"""A stage_out that somebody waits for, and that goes on when its job has ended.

It runs in the job, and may take as long as that lasts. What a script of a site's does here may go on when the job has
ended, and nobody is to lose his results by that: so it is ended only where the container is being deleted, a while
after the job. Who wants it to end sooner cancels the job.
"""

from __future__ import annotations

from scrun.lifecycle.anchor.worker import Worker
from scrun.lifecycle.container.worker_messages import from_look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.worker_messages import FromLook
    from scrun.lifecycle.process.loop import Loop

# Seconds between two looks at the job, and those that stage_out has when it has ended: as many as Slurm's KillWait.
LOOK, GRACE = 5.0, 30.0


def watch(loop: Loop, container: Container, is_over: Callable[[], bool], give_up: Callable[[], None]) -> None:
    """Call ``give_up`` when the container's job has ended and stage_out is not over some time later."""
    gone = False

    def look() -> None:
        if not is_over():
            Worker(loop, container, "look", from_look, said=said, ended=again).send({"job": container.record["job"]})

    def said(message: FromLook) -> None:
        nonlocal gone
        gone = "gone" in message and message["gone"]  # an error is that slurmctld doesn't answer

    def again() -> None:
        loop.after(GRACE, end) if gone else loop.after(LOOK, look)

    def end() -> None:
        if not is_over():
            give_up()

    loop.after(LOOK, look)
