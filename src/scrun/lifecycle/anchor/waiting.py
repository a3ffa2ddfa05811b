"""Callers that wait for a container's end, as delete does, and what they are answered."""

from __future__ import annotations

from scrun.errors import ScrunError, SlurmUnreachable
from scrun.lifecycle.container.directory import DELETED, Container
from scrun.lifecycle.process import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.messages import Answer, Reply


class Waiting:
    """Those who wait for a container's end, as delete does."""

    def __init__(self, container: Container) -> None:
        self.is_unwanted = False  # the container's directory goes when nothing is owed any more
        self._container = container
        self._answers: list[Reply] = []

    def __bool__(self) -> bool:
        return bool(self._answers)

    def add(self, answer: Reply) -> None:
        """One more; an engine takes the container for removed then, whatever we say."""
        self.is_unwanted = True
        self._answers.append(answer)

    def answer(self, message: Answer) -> None:
        """Answer all of them."""
        for answer in self._answers:
            answer(message)
        self._answers.clear()

    def answer_owing(self, error: ScrunError) -> None:
        """Tell them why the job is not given back yet; an engine that was told may never ask again."""
        words = f"{error}: tried again until it answers; the container goes then"
        self.answer(wire.failure(SlurmUnreachable(words)))

    def answer_deleted(self, answer: Reply) -> None:
        """Tell one who needn't wait that the container is deleted; what is owed is the anchor's to do.

        Nobody finds the container from here on. On a full disk that can't be marked, so that he has to wait.
        """
        self._container.mark(DELETED)
        if not self._container.is_marked(DELETED):
            self.add(answer)
            return
        self.is_unwanted = True
        answer({"deleted": True})

    def answer_early(self) -> None:
        """Have them not wait for the files."""
        if self._answers:
            self._container.mark(DELETED)
            self.answer({"later": True})
