"""The end of a container that nobody waits for: it was deleted, or an engine lost patience, before its files were back.

docker and podman send SIGKILL to the pid when a container doesn't end within some seconds of a kill, and docker gives
delete two. So the stand-in ends and delete is answered in that time, and the transfer goes on without them. Until it is
done the container's directory stays. list shows it; for all else but delete the container doesn't exist; a create of
the same id waits for it.
"""

from __future__ import annotations

from scrun.lifecycle.container.directory import DELETED, PAID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container

# Seconds from SIGKILL, or from the end that it has brought about, until the stand-in ends without the files: podman's
# patience is 5 s from the kill, docker's 10.
LET_GO = 2.0
# Seconds that delete waits for the files when the stand-in has ended: dockerd's patience is 2.
DELETE = 1.0
# Seconds for which no file is made after delete: the engine may be removing the root filesystem, and volumes.
REMOVAL = 3.0


class Patience:
    """Until when what the container had must be left alone (time.monotonic): for a while after the delete."""

    def __init__(self, container: Container) -> None:
        self._container, self._until = container, 0.0

    def __call__(self) -> float:
        if not self._until and self._container.is_marked(DELETED):
            import time

            self._until = time.monotonic() + REMOVAL
        return self._until


def is_owed(container: Container) -> bool:
    """Whether files have still to be brought back, by the record as it is loaded."""
    return bool(container.record.get("stage_out_owed") and container.record.get("owed")) and not container.is_marked(
        PAID
    )


def is_left(container: Container) -> bool:
    """Whether such a process is at work for it."""
    from scrun.lifecycle.process import processes

    return is_owed(container) and processes.is_alive(*container.record.get("debtor", (0, 0)))
