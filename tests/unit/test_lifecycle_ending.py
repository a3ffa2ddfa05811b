"""What is owed when a container has ended: who is told what, in which order, and what becomes of it when one fails."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scrun.errors import ScrunError, SlurmUnreachable
from scrun.lifecycle.anchor import ending, overtime
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.process import wire
from scrun.lifecycle.process.loop import Loop

Message = Any  # as a test makes it
PLAN: Any = {"script": "s", "lua": "", "staging": {}, "more": "that stage_out has no use for"}
GONE_WRONG = wire.failure(ScrunError("the hook failed"))


class FakeWorker:
    """A worker that the test plays."""

    def __init__(self, work: str) -> None:
        self.work = work
        self.told: list[Message] = []
        self.is_there = True
        self.says: Callable[[Message], None]
        self.ends: Callable[[], None]

    def hand_over(self, _check: Any, said: Callable[[Message], None], ended: Callable[[], None]) -> None:
        self.says, self.ends = said, ended

    def send(self, message: Message) -> None:
        self.told.append(message)

    def last_words(self, otherwise: str) -> str:
        return otherwise

    def cancel(self) -> None:
        self.told.append({"cancel": True})


class Ending(ending.Ending):
    """One whose workers are fakes; ``happened`` has what it called, in order."""

    def __init__(self, container: Container, stager: FakeWorker | None = None) -> None:
        self.made: list[FakeWorker] = []
        self.happened: list[tuple[str, str]] = []
        super().__init__(
            None,  # type: ignore[arg-type]
            container,
            stager=stager,  # type: ignore[arg-type]
            log=lambda level, text: self.happened.append((level, text)),
            keep=lambda: None,
            files_back=lambda error: self.happened.append(("files back", str(error or ""))),
            released=lambda error: self.happened.append(("released", str(error or ""))),
        )

    def _start(self, work: str, request: Message) -> None:
        made: Any = FakeWorker(work)
        made.hand_over(None, self._said, self._ended)
        self.made.append(made)
        self._worker = made
        made.send(request)


@pytest.fixture
def owing(container: Container) -> Container:
    """A container with a job of its own, whose files were staged and wait for nothing."""
    container.record.update({"job": 7, "job_owned": True, "stage_out_owed": True, "hold": False, "staged": {}})
    return container


BACK, RELEASED = ("files back", ""), ("released", "")


def test_where_nothing_is_owed_nothing_is_done(container: Container) -> None:
    made = Ending(container)
    made.begin(PLAN)
    made.release(0)
    assert (made.made, made.happened) == ([], [BACK, RELEASED])


def test_a_container_without_changes_ends_at_once(owing: Container) -> None:
    made = Ending(owing)
    made.begin(PLAN)
    (worker,) = made.made
    assert worker.told == [{"script": "s", "lua": "", "staging": {}, "record": owing.record}]
    assert (worker.work, made.happened) == ("stage out", [BACK])
    made.release(3)
    assert worker.told[1:] == [{"job": 7, "status": 3}]
    for message in ({"begun": True}, {"staged_out": True}, {"released": 7}):
        worker.says(message)
    worker.ends()
    assert made.happened == [BACK, BACK, RELEASED]
    assert (owing.record["stage_out_owed"], owing.record["released"]) == (False, True)


@pytest.mark.parametrize("staged", [{"node_parent": "/tmp"}, {"copies": [["/nosuch", "/etc/hosts", 1, 1]]}])
def test_a_container_waits_until_its_files_are_back(staged: Any, owing: Container) -> None:
    owing.record["staged"] = staged
    made = Ending(owing)
    made.begin(PLAN)
    assert made.happened == []
    made.made[0].says({"files_back": True})
    assert made.happened == [BACK]
    made.made[0].says({"staged_out": True})
    assert made.happened == [BACK, BACK], "and when the script has ended, too"


def test_the_scripts_own_bundle_is_waited_for(owing: Container) -> None:
    owing.record["hold"] = True
    made = Ending(owing)
    made.begin(PLAN)
    made.made[0].says({"files_back": True})
    assert made.happened == []
    made.made[0].says({"staged_out": True})
    assert made.happened == [BACK]


@pytest.mark.parametrize("changed", [False, True])
def test_a_small_copy_comes_back_if_changed(changed: bool, owing: Container, tmp_path: Path) -> None:
    copy = tmp_path / "hosts"
    copy.write_text("one")
    status = copy.stat()
    if changed:
        copy.write_text("two")
        os.utime(copy, ns=(0, status.st_mtime_ns + 1))
    owing.record["staged"] = {"copies": [[str(copy), "/etc/hosts", status.st_size, status.st_mtime_ns]]}
    made = Ending(owing)
    made.begin(PLAN)
    assert made.happened == ([] if changed else [BACK])


def test_a_job_of_others_is_not_given_back(owing: Container) -> None:
    owing.record["job_owned"] = False
    made = Ending(owing)
    made.begin(PLAN)
    made.release(0)
    (worker,) = made.made
    assert worker.told[1:] == [{"keep_job": True}]
    worker.says({"staged_out": True})
    worker.ends()
    assert made.happened == [BACK, BACK, RELEASED]


def test_a_failed_hook_does_not_keep_the_job(owing: Container) -> None:
    owing.record["hold"] = True
    made = Ending(owing)
    made.begin(PLAN)
    made.made[0].says({"begun": True})
    made.made[0].says(GONE_WRONG)
    made.made[0].ends()
    assert made.happened == [("files back", "the hook failed")]
    made.release(125)
    assert [(worker.work, worker.told) for worker in made.made[1:]] == [
        ("release", [{"left": None, "job": {"job": 7, "status": 125}}])
    ]
    made.made[1].says({"released": 7})
    made.made[1].ends()
    assert made.happened[1:] == [RELEASED]


def test_a_failed_hook_in_anothers_job_ends_once(owing: Container) -> None:
    owing.record.update({"job_owned": False, "hold": True})
    made = Ending(owing)
    back = made._files_back

    def files_back(error: ScrunError | None) -> None:  # as the anchor does
        back(error)
        made.release(0)

    made._files_back = files_back
    made.begin(PLAN)
    made.made[0].says(GONE_WRONG)
    made.made[0].ends()
    assert made.happened == [("files back", "the hook failed"), RELEASED]


def test_a_hook_failing_after_the_container_is_logged(owing: Container) -> None:
    made = Ending(owing)
    made.begin(PLAN)
    made.release(0)
    made.made[0].says(GONE_WRONG)
    made.made[0].ends()
    assert made.happened == [BACK, ("files back", "the hook failed")]
    assert (made.made[1].work, made.made[1].told) == ("release", [{"left": None, "job": {"job": 7, "status": 0}}])


def test_a_job_not_given_back_is_still_owed(owing: Container) -> None:
    made = Ending(owing)
    made.begin(PLAN)
    made.release(0)
    made.made[0].says({"staged_out": True})
    made.made[0].says(wire.failure(ScrunError("slurmctld can't be reached")))
    made.made[0].ends()
    assert made.happened == [BACK, BACK, ("released", "slurmctld can't be reached")]
    assert not owing.record.get("released")


# --- the worker that staged the files, and may still be there


def test_the_stager_is_asked_to_bring_files_back(owing: Container) -> None:
    stager = FakeWorker("prepare")
    made = Ending(owing, stager)
    made.begin(PLAN)
    made.release(0)
    assert made.made == []
    assert stager.told == [
        {"script": "s", "lua": "", "staging": {}, "record": owing.record},
        {"job": 7, "status": 0},
    ]
    for message in ({"begun": True}, {"staged_out": True}, {"released": 7}):
        stager.says(message)
    stager.ends()
    assert made.happened == [BACK, BACK, RELEASED]


def test_one_that_has_gone_is_not_asked(owing: Container) -> None:
    stager = FakeWorker("prepare")
    stager.is_there = False
    made = Ending(owing, stager)
    made.begin(PLAN)
    assert stager.told == []
    assert [worker.work for worker in made.made] == ["stage out"]


def test_a_worker_that_just_went_is_replaced(owing: Container) -> None:
    stager = FakeWorker("prepare")
    made = Ending(owing, stager)
    made.begin(PLAN)
    made.release(0)
    stager.ends()
    (worker,) = made.made
    assert (worker.work, worker.told) == ("stage out", stager.told)
    for message in ({"begun": True}, {"staged_out": True}, {"released": 7}):
        worker.says(message)
    worker.ends()
    assert made.happened == [BACK, BACK, RELEASED]


def test_a_replacement_gives_the_job_back(owing: Container) -> None:
    owing.record["hold"] = True
    stager = FakeWorker("prepare")
    made = Ending(owing, stager)
    made.begin(PLAN)
    stager.ends()
    (worker,) = made.made
    assert worker.told == stager.told
    worker.says({"staged_out": True})
    made.release(0)
    assert worker.told[1:] == [{"job": 7, "status": 0}]


def test_a_stager_dying_midway_is_a_failed_hook(owing: Container) -> None:
    owing.record["hold"] = True
    stager = FakeWorker("prepare")
    made = Ending(owing, stager)
    made.begin(PLAN)
    stager.says({"begun": True})
    stager.ends()
    assert made.happened == [("files back", "stage_out ended without an answer")]


# --- one that never ends


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Callable[[], bool], Callable[[], None]]]:
    """What :mod:`overtime` was asked for: whether stage_out is over, and what gives it up."""
    asked: list[tuple[Callable[[], bool], Callable[[], None]]] = []
    monkeypatch.setattr(overtime, "watch", lambda _loop, _container, *calls: asked.append(calls))
    return asked


@pytest.mark.parametrize("job_owned", [True, False])
def test_a_stage_out_is_given_up_and_removed(
    job_owned: bool, owing: Container, watched: list[tuple[Callable[[], bool], Callable[[], None]]]
) -> None:
    owing.record.update({"hold": True, "job_owned": job_owned})
    made = Ending(owing)
    made.begin(PLAN)
    made.hurry()
    made.hurry()
    ((is_over, give_up),) = watched
    assert not is_over()
    assert made.waits_for() == "stage_out goes on, which brings its changes back: scancel 7 has them given up"
    give_up()
    assert made.made[0].told[1:] == [{"cancel": True}]
    made.made[0].ends()
    error = "stage_out was given up, since job 7 has ended: what it had to do isn't done"
    assert (made.happened, is_over(), made.waits_for()) == ([("files back", error)], True, "")
    made.release(None)
    order = {"left": owing.record, "job": {"job": 7, "status": None} if job_owned else None}
    assert [(worker.work, worker.told) for worker in made.made[1:]] == [("release", [order])]
    made.made[1].says({"released": 7})
    made.made[1].ends()
    assert made.happened[1:] == [RELEASED]


def test_without_stage_out_nobody_watches_the_job(
    container: Container, watched: list[tuple[Callable[[], bool], Callable[[], None]]]
) -> None:
    container.record.update({"job": 7, "job_owned": True})
    made = Ending(container)
    made.begin(PLAN)
    made.release(0)
    made.hurry()
    assert watched == []


@pytest.mark.parametrize("answers", [["gone"], ["there", "gone"], ["unreachable", "gone"]])
def test_stage_out_is_abandoned_once_its_job_ended(
    answers: list[str], container: Container, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"gone": {"gone": True}, "there": {"gone": False}, "unreachable": wire.failure(SlurmUnreachable("down"))}
    left = [*answers]

    class Look(FakeWorker):
        def __init__(
            self, _loop: Loop, _container: Container, work: str, _check: Any, **callbacks: Callable[..., None]
        ) -> None:
            super().__init__(work)
            self.callbacks = callbacks

        def send(self, message: Message) -> None:
            assert (self.work, message) == ("look", {"job": 7})
            self.callbacks["said"](said[left.pop(0)])
            self.callbacks["ended"]()

    monkeypatch.setattr(overtime, "Worker", Look)
    monkeypatch.setattr(overtime, "LOOK", 0.001)
    monkeypatch.setattr(overtime, "GRACE", 0.001)
    container.record["job"] = 7
    overtime.watch(loop, container, lambda: False, loop.stop)
    loop.run()
    assert left == []


def test_one_that_ends_by_itself_is_let_be(container: Container, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overtime, "LOOK", 0.001)
    overtime.watch(loop, container, lambda: True, lambda: pytest.fail("it is over"))
    loop.after(0.05, loop.stop)
    loop.run()
