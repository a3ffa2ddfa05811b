"""What is owed at a container's end: who pays it, and what becomes of it when he goes half way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from scrun.errors import ScrunError
from scrun.lifecycle import ending
from scrun.lifecycle.container import Container
from scrun.lifecycle.ending import Ending
from scrun.lifecycle.loop import Loop

Message = dict[str, Any]
PLAN = {"script": "/scrun.lua", "lua": "", "staging": {}}


class FakeWorker:
    """One that does what the test says."""

    started: list[FakeWorker]

    def __init__(
        self,
        _loop: object,
        _container: object,
        work: str,
        *,
        said: Callable[[Message], None],
        ended: Callable[[], None],
    ) -> None:
        self.work, self.said, self.ended = work, said, ended
        self.got: list[Message] = []
        self.is_there = True
        FakeWorker.started.append(self)

    def hand_over(self, said: Callable[[Message], None], ended: Callable[[], None]) -> None:
        self.said, self.ended = said, ended

    def send(self, message: Message) -> None:
        self.got.append(message)

    def last_words(self, otherwise: str) -> str:
        return otherwise

    def does_all(self) -> None:
        """stage_out, the job, and its own end."""
        self.said({"begun": True})
        self.said({"staged out": True})
        self.said({"released": 7})
        self.ended()


class Owed:
    """An ending, and what became of it."""

    def __init__(self, container: Container, *, stager: FakeWorker | None, hold: bool = True) -> None:
        container.record.update(stage_out_owed=True, hold=hold, staged={}, job=7, job_owned=True)
        self.back: list[ScrunError | None] = []
        self.released: list[ScrunError | None] = []
        self.ending = Ending(
            Loop(),
            container,
            stager=stager,  # type: ignore[arg-type]
            log=lambda _level, _text: None,
            files_back=self.files_back,
            released=self.released.append,
        )
        self.ending.begin(PLAN)

    def files_back(self, error: ScrunError | None) -> None:
        self.back.append(error)
        if hasattr(self, "ending"):
            self.ending.release(0)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> list[FakeWorker]:
    monkeypatch.setattr(ending, "Worker", FakeWorker)
    FakeWorker.started = []
    return FakeWorker.started


@pytest.fixture
def stager(workers: list[FakeWorker]) -> FakeWorker:
    made = FakeWorker(None, None, "stage in", said=lambda _: None, ended=lambda: None)
    workers.clear()
    return made


def test_who_staged_the_files_brings_them_back_and_gives_the_job_back(
    container: Container, workers: list[FakeWorker], stager: FakeWorker
) -> None:
    owed = Owed(container, stager=stager)
    stager.does_all()
    assert (workers, owed.back, owed.released) == ([], [None], [None])
    assert [sorted(message) for message in stager.got] == [["lua", "record", "script", "staging"], ["job", "status"]]


def test_one_who_has_gone_is_not_asked(container: Container, workers: list[FakeWorker], stager: FakeWorker) -> None:
    stager.is_there = False
    owed = Owed(container, stager=stager)
    assert stager.got == []
    workers[0].does_all()
    assert (len(workers), workers[0].work, owed.back, owed.released) == (1, "stage out", [None], [None])


def test_one_who_goes_when_he_is_asked_is_replaced(
    container: Container, workers: list[FakeWorker], stager: FakeWorker
) -> None:
    owed = Owed(container, stager=stager)
    stager.ended()
    assert owed.back == []
    workers[0].does_all()
    assert (len(workers), owed.back, owed.released) == (1, [None], [None])


def test_who_replaces_him_hears_of_the_job_as_well(
    container: Container, workers: list[FakeWorker], stager: FakeWorker
) -> None:
    owed = Owed(container, stager=stager, hold=False)
    owed.ending.release(3)
    stager.ended()
    assert workers[0].got[1:] == [{"job": 7, "status": 3}]
    workers[0].does_all()
    assert owed.released == [None]


def test_one_who_has_begun_and_goes_has_failed(
    container: Container, workers: list[FakeWorker], stager: FakeWorker
) -> None:
    owed = Owed(container, stager=stager)
    stager.said({"begun": True})
    stager.ended()
    assert [str(error) for error in owed.back] == ["stage_out ended without an answer"]
    assert [worker.work for worker in workers] == ["release"]
    workers[0].said({"released": 7})
    workers[0].ended()
    assert owed.released == [None]
