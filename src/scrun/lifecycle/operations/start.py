"""start: run the container's process (runtime-spec, runtime.md, Start)."""

from __future__ import annotations

from scrun.errors import WrongStatus
from scrun.lifecycle.container import status
from scrun.lifecycle.container.client import ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container

_PATIENCE = 5.0  # seconds


def run(container: Container) -> None:
    """Start what was created; return when its process runs, or at once while its job is queued.

    Raises:
        WrongStatus: it isn't in the status "created".
        SlurmError: the step could not be started; the container is stopped then.
    """
    now = container.phase()
    if not status.can_start(now):
        if now == status.STOPPED and container.record["status"] != status.STOPPED:
            _end_what_was_lost(container)
        raise WrongStatus(f"cannot start container {container.id!r}: it is {now}, not created")
    if ask(container, {"do": "start"}) is None:
        raise WrongStatus(f"cannot start container {container.id!r}: its anchor is gone: delete it and create it again")


def _end_what_was_lost(container: Container) -> None:
    """Have the job of a container whose anchor was killed ended: an engine whose start fails kills who is at that."""
    import os

    from scrun.lifecycle.recovery import sweep

    sweep.end_if_lost(os.path.dirname(container.path), container.id, lambda _level, _text: None, patience=_PATIENCE)
