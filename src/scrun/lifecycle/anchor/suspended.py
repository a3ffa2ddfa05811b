"""A job that Slurm has suspended (scontrol suspend, preemption, gang scheduling): no step begins in it meanwhile."""

from __future__ import annotations

from scrun.lifecycle.anchor.worker import Worker
from scrun.lifecycle.container.status import SUSPENDED
from scrun.lifecycle.container.worker_messages import from_look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.anchor.view import Anchor
    from scrun.lifecycle.container.worker_messages import FromLook

_FIRST_LOOK_AGAIN, _LONGEST_LOOK_AGAIN = 2.0, 30.0  # seconds between two looks at a suspended job


def ask(anchor: Anchor, told: Callable[[str], None]) -> None:
    """Ask Slurm, in a worker, for the state of the container's job; ``told`` gets nothing where it doesn't answer."""
    state = ""

    def said(message: FromLook) -> None:
        nonlocal state
        if "state" in message:
            state = message["state"]

    Worker(anchor.loop, anchor.container, "look", from_look, said=said, ended=lambda: told(state)).send(
        {"job": anchor.record["job"], "state": True}
    )


def when_it_goes_on(anchor: Anchor, act: Callable[[], None]) -> None:
    """Call ``act`` when the container's job goes on: to send a signal, as a process that is stopped gets it then.

    srun would wait as well, but looks at its job only once a minute.
    """
    pause = _FIRST_LOOK_AGAIN

    def look() -> None:
        if "exit_status" not in anchor.record:
            ask(anchor, told)

    def told(state: str) -> None:
        nonlocal pause
        if state in ("", SUSPENDED):
            pause = min(1.5 * pause, _LONGEST_LOOK_AGAIN)
            anchor.loop.after(pause, look)
            return
        act()

    anchor.loop.after(pause, look)
