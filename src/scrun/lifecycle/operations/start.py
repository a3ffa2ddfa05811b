"""start: run the container's process (runtime-spec, runtime.md, Start)."""

from __future__ import annotations

from scrun import front
from scrun.errors import WrongStatus
from scrun.lifecycle.container import status
from scrun.lifecycle.container.client import ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container

_PATIENCE = 5.0  # seconds in which a lost container's job is ended


def start_container(container: Container) -> None:
    """Start a created container; return when its process runs, or at once if its job is queued.

    Raises:
        WrongStatus: the container isn't created, or its anchor is gone.
        SlurmError: the step could not be started; the container is stopped then.
    """
    now = container.phase()
    if not status.can_start(now) and not front.is_asked():
        if now == status.STOPPED and container.record["status"] != status.STOPPED:
            _end_lost(container)
        raise WrongStatus(f"cannot start container {container.id!r}: it is {now}, not created")
    if ask(container, {"do": "start"}) is None:
        raise WrongStatus(f"cannot start container {container.id!r}: its anchor is gone: delete it and create it again")


def _end_lost(container: Container) -> None:
    """End the job of a container whose processes were killed, and wait for that for a while.

    An engine whose start fails kills all processes of the container, and so might end the job's end.
    """
    import os

    from scrun.lifecycle.recovery import sweep

    sweep.end_if_lost(os.path.dirname(container.path), container.id, lambda _level, _text: None, patience=_PATIENCE)
