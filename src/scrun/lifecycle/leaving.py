"""The end of a container that nobody waits for: it was deleted, or an engine lost patience, before its files were back.

docker and podman send SIGKILL to the pid when a container doesn't end within some seconds of a kill, and docker gives
delete two. So the stand-in ends and delete is answered in that time, and the transfer goes on without them. Until it is
done the container's directory stays. list shows it; for all else but delete the container doesn't exist; a create of
the same id waits for it.
"""

from __future__ import annotations

import os

from scrun.errors import ContainerExists, ContainerNotFound, ScrunError, SlurmUnreachable
from scrun.lifecycle import wire
from scrun.lifecycle.container import DELETED, PAID, Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.wire import Message

    Answer = Callable[[Message], None]

# Seconds from SIGKILL, or from the end that it has brought about, until the stand-in ends without the files: podman's
# patience is 5 s from the kill, docker's 10.
LET_GO = 2.0
# Seconds that delete waits for the files when the stand-in has ended: dockerd's patience is 2.
DELETE = 1.0
# Seconds for which no file is made after delete: the engine may be removing the root filesystem, and volumes.
REMOVAL = 3.0
# Seconds that a create of the same id waits; podman gives it 240.
CREATE, _LOOK = 200.0, 0.05


class Waiting:
    """Those who wait for a container's end, as delete does."""

    def __init__(self, container: Container) -> None:
        self.is_unwanted = False  # the container's directory goes when nothing is owed any more
        self._container = container
        self._answers: list[Answer] = []

    def __bool__(self) -> bool:
        return bool(self._answers)

    def add(self, answer: Answer) -> None:
        """One more; an engine takes the container for removed then, whatever we say."""
        self.is_unwanted = True
        self._answers.append(answer)

    def answer(self, message: Message) -> None:
        """Answer all of them."""
        for answer in self._answers:
            answer(message)
        self._answers.clear()

    def answer_owing(self, error: ScrunError) -> None:
        """Tell them why the job is not given back yet; an engine that was told may never ask again."""
        words = f"{error}: tried again until it answers; the container goes then"
        self.answer(wire.failure(SlurmUnreachable(words)))

    def answer_early(self) -> None:
        """Have them not wait for the files."""
        if self._answers:
            self._container.mark(DELETED)
            self.answer({"later": True})


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


def leave(container: Container) -> bool:
    """Have the files of a container without an anchor brought back by a process that stays; it is not locked then.

    The answer comes after :data:`DELETE` seconds at the latest: whether the container has gone.
    """
    import time

    from scrun.lifecycle import debtor

    container.mark(DELETED)
    debtor.leave(container, at_once=True)
    until = time.monotonic() + DELETE
    while container.is_in_place() and time.monotonic() < until:
        time.sleep(_LOOK)
    return not container.is_in_place()


def is_left(container: Container) -> bool:
    """Whether such a process is at work for it."""
    from scrun.lifecycle import processes

    return is_owed(container) and processes.is_alive(*container.record.get("debtor", (0, 0)))


def wait(root: str, container_id: str) -> None:
    """Wait until a container of that id that was deleted has gone, so that another can be made.

    Raises:
        ContainerExists: it was not deleted.
        ScrunError: it takes too long.
    """
    import time

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
                if is_owed(left) and not is_left(left):
                    leave(left)
                elif not is_owed(left):
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
