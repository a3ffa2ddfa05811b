"""pause: stop every process of a container, on all its nodes."""

from __future__ import annotations

from scrun.lifecycle.container import status
from scrun.lifecycle.container.client import ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container


def pause_container(container: Container) -> None:
    """Pause the container; return when all its processes have stopped.

    Raises:
        WrongStatus: the container isn't running.
        NodeRuntimeError: its nodes can't be asked, or a process doesn't stop; then the container runs on.
    """
    # The anchor decides whether that is possible, because the record may be old (a full disk).
    if ask(container, {"do": "pause"}) is None:
        now = container.phase()
        raise status.cannot_pause(container.id, f"it is {'without its anchor' if status.can_pause(now) else now}")
