"""resume: let every process of a paused container go on."""

from __future__ import annotations

from scrun.lifecycle.container import status
from scrun.lifecycle.container.client import ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container


def resume_container(container: Container) -> None:
    """Resume the container; return when its processes go on.

    Raises:
        WrongStatus: the container isn't paused.
        NodeRuntimeError: its nodes can't be asked.
    """
    # The anchor decides whether that is possible, because the record may be old (a full disk).
    if ask(container, {"do": "resume"}) is None:
        now = container.phase()
        raise status.cannot_resume(container.id, "without its anchor" if status.can_resume(now) else now)
