"""Leave the return of a container's files to a process that stays, and wait for one that was left."""

from __future__ import annotations

import os
import time

from scrun.errors import ContainerExists, ContainerNotFound, ScrunError
from scrun.lifecycle.container import owed
from scrun.lifecycle.container.directory import DELETED, Container
from scrun.lifecycle.recovery import debtor

# Seconds that a create of the same id waits; podman gives it 240.
CREATE, _LOOK = 200.0, 0.05


def leave(container: Container) -> bool:
    """Have the files of a container without an anchor brought back by a process that stays; it is not locked then.

    The answer comes after :data:`owed.DELETE` seconds at the latest: whether the container has gone.
    """
    container.mark(DELETED)
    debtor.leave(container, at_once=True)
    until = time.monotonic() + owed.DELETE
    while container.is_in_place() and time.monotonic() < until:
        time.sleep(_LOOK)
    return not container.is_in_place()


def wait(root: str, container_id: str) -> None:
    """Wait until a container of that id that was deleted has gone, so that another can be made.

    Raises:
        ContainerExists: it was not deleted.
        ScrunError: it takes too long.
    """
    until = time.monotonic() + CREATE
    while True:
        try:
            left = Container.open(root, container_id, load=False)
        except ContainerNotFound:
            return
        try:
            if not left.is_marked(DELETED):
                raise ContainerExists(container_id)
            if left.lock(wait=False):
                left.load()
                if owed.is_owed(left) and not owed.is_left(left):
                    leave(left)
                elif not owed.is_owed(left):
                    left.remove()  # what is lost was said, and list has shown it
        except ContainerNotFound:
            pass  # it has gone in this moment
        finally:
            os.close(left.descriptor)
        if time.monotonic() > until:
            raise ScrunError(
                f"container {container_id!r} was deleted, and its changes are still coming back: create it again when "
                "scrun list shows it no longer"
            )
        time.sleep(_LOOK)
