"""start: run the container's process (runtime-spec, runtime.md, Start)."""

from __future__ import annotations

from scrun.errors import WrongStatus
from scrun.lifecycle import status
from scrun.lifecycle.control import ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container import Container


def run(container: Container) -> None:
    """Start what was created; return when its process runs, or at once while its job is queued.

    Raises:
        WrongStatus: it isn't in the status "created".
        SlurmError: the step could not be started; the container is stopped then.
    """
    now = container.phase()
    if not status.can_start(now):
        raise WrongStatus(f"cannot start container {container.id!r}: it is {now}, not created")
    if ask(container, {"do": "start"}) is None:
        raise WrongStatus(f"cannot start container {container.id!r}: its anchor is gone: delete it and create it again")
