"""Leave the return of a deleted container's files to a debtor, and wait for such a container to go."""

from __future__ import annotations

import os
import time

from scrun.errors import ContainerExists, ContainerNotFound, ScrunError
from scrun.lifecycle.container import owed
from scrun.lifecycle.container.directory import DELETED, Container
from scrun.lifecycle.recovery import debtor

CREATE = 200.0  # seconds that a create of the same id waits; podman gives create 240
_FIRST_LOOK, _LOOK = 0.005, 0.05  # seconds between two looks: most wait only until a job is given back


def leave(container: Container) -> bool:
    """Mark a container without an anchor as deleted, and leave the return of its files to a debtor.

    The container's lock is given up.

    Returns:
        Whether the container is gone within :data:`owed.DELETE` seconds.
    """
    container.mark(DELETED)
    debtor.leave(container, at_once=True)
    until = time.monotonic() + owed.DELETE
    while container.is_in_place() and time.monotonic() < until:
        time.sleep(_LOOK)
    return not container.is_in_place()


def wait(root: str, container_id: str) -> None:
    """Wait until a deleted container of that id is gone, so that another one can be created.

    Raises:
        ContainerExists: the container wasn't deleted.
        ScrunError: its files are still coming back after :data:`CREATE`.
    """
    until, pause = time.monotonic() + CREATE, _FIRST_LOOK
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
                elif not owed.is_owed(left) and debtor.pay(left):  # the anchor may have left the job
                    left.remove()  # if changes were lost, list has shown that
        except ContainerNotFound:
            pass  # the container went in this moment
        finally:
            os.close(left.descriptor)
        if time.monotonic() > until:
            raise ScrunError(
                f"container {container_id!r} was deleted, and its changes are still coming back: create it again when "
                "scrun list doesn't show it any more"
            )
        time.sleep(pause)
        pause = min(2 * pause, _LOOK)
