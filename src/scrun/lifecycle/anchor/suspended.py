"""A job that Slurm has suspended (scontrol suspend, preemption, gang scheduling): its processes are stopped."""

from __future__ import annotations

from scrun.lifecycle.anchor.worker import Worker
from scrun.lifecycle.container.worker_messages import from_look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.anchor.view import Anchor
    from scrun.lifecycle.container.worker_messages import FromLook


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
