"""The worker that asks for the job, and one that is told to stop while Slurm is asked."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unchecked import anything

import scrun.slurm
from scrun.errors import JobRefused, SlurmError
from scrun.lifecycle.container import origin
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.container.worker_messages import to_allocate
from scrun.lifecycle.process import wire
from scrun.lifecycle.recovery import recovery
from scrun.lifecycle.worker import cancel

Message = dict[str, Any]
PLAN = {"directory": "/", "gpu_devices": False, "all_gpus": False}
ASKED = {"plan": {"request": {"attributes": {}, "fields": {}}, **PLAN}, "step": {}, "look_at": 0}
THERE = {**ASKED, "plan": {"existing": 7, "environment": {}, **PLAN}}
GRANTED = {"job": 7, "nodes": "n1", "node_count": 1, "environment": ["SLURM_JOB_ID=7"], "uid": 0, "gid": 0}
GRANTED |= {"user": "u", "group": "g"}


class Slurm:
    """In the place of scrun.slurm.allocation and .control, which need libslurm."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {"request": GRANTED, "look_up": GRANTED, "reason": "Resources"} | answers
        self.cancelled: list[int] = []

    def _answer(self, name: str) -> Any:
        answer = self.answers[name]
        if callable(answer):
            answer = answer()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def ask_for_job(self, _job: Message) -> Message:
        return dict(self._answer("request"))

    def look_up(self, _job_id: int, _job: Message | None = None) -> Message:
        return dict(self._answer("look_up"))

    look_up_queued = look_up

    def waiting_reason(self, _job_id: int) -> str:
        return str(self._answer("reason"))

    def cancel(self, job_id: int) -> None:
        self.cancelled.append(job_id)

    def cluster(self) -> str:
        return "c"

    def slurm_release(self) -> list[int]:
        return [26, 5]


@pytest.fixture
def asked(
    fork: Callable[..., int], exit_code: Callable[[int], int], container: Container
) -> Callable[..., tuple[list[Message], list[int]]]:
    """Serve one request in a child, as a worker does: what it said, and the jobs that it cancelled.

    Where it isn't ``heard`` the anchor has gone meanwhile; then what the child said is only how it ended.
    """

    def ask(slurm: Slurm, message: Message, *, heard: bool = True) -> tuple[list[Message], list[int]]:
        here, there = wire.pair()
        told, tell = (here, there) if heard else wire.pair()

        def serve() -> None:
            os.close(told)
            sys.modules["scrun.slurm.allocation"] = sys.modules["scrun.slurm.control"] = slurm  # type: ignore[assignment]
            vars(scrun.slurm).update(allocation=slurm, control=slurm)
            signal.signal(signal.SIGTERM, cancel.cancelled)
            from scrun.lifecycle.worker import allocate

            try:
                if order := wire.Reader(there).next(to_allocate):
                    allocate.get_job(there, container, order)
            except cancel.Cancelled:
                wire.send(tell, {"cancelled": True})
            except Exception as error:
                wire.send(tell, wire.failure(error))
            wire.send(tell, {"jobs": slurm.cancelled})

        wire.send(here, message)
        if not heard:
            os.close(here)
        pid = fork(serve)
        for descriptor in {there, tell}:
            os.close(descriptor)
        reader = wire.Reader(told)
        said: list[Message] = []
        while one := reader.next(anything):
            said.append(one)
        os.close(told)
        assert exit_code(pid) == 0
        return said[:-1], said[-1]["jobs"]

    return ask


Ask = Callable[..., tuple[list[Message], list[int]]]


def test_a_job_with_nodes_is_told_with_them(asked: Ask) -> None:
    (job, nodes), cancelled = asked(Slurm(), ASKED)
    assert (job, nodes["nodes"]["nodes"], nodes["nodes"]["tasks"], cancelled) == ({"job": 7}, "n1", 1, [])


def test_the_job_says_which_container_it_belongs_to(asked: Ask, container: Container) -> None:
    class Remembering(Slurm):
        def ask_for_job(self, job: Message) -> Message:
            self.answers["reason"] = job["fields"]["container_id"]
            return {**GRANTED, "nodes": ""}

    slurm = Remembering(look_up={**GRANTED, "nodes": ""})
    slurm.answers["look_up"] = (
        lambda: GRANTED if "asked" in slurm.answers else slurm.answers.setdefault("asked", QUEUED)
    )
    (_job, waiting, _nodes), _cancelled = asked(slurm, ASKED)
    read = origin.parse(waiting["waiting"])
    assert read is not None
    assert (read.container, read.pid) == ("box", os.getpid())


QUEUED = {**GRANTED, "nodes": ""}


def _told_to_stop() -> Message:
    """Slurm makes the job, and before its answer is read the anchor wants it no more."""
    os.kill(os.getpid(), signal.SIGTERM)
    return GRANTED


def test_a_job_asked_for_in_vain_is_cancelled(asked: Ask) -> None:
    assert asked(Slurm(request=_told_to_stop), ASKED) == ([{"cancelled": True}], [7])


def test_an_unwanted_queued_job_is_cancelled(asked: Ask) -> None:
    queued = Slurm(request={**GRANTED, "nodes": ""}, look_up=_told_to_stop)
    assert asked(queued, ASKED) == ([{"job": 7}, {"cancelled": True}], [7])


@pytest.mark.parametrize("nodes", ["n1", ""])
def test_a_grant_after_the_anchors_death_is_cancelled(nodes: str, asked: Ask) -> None:
    answer = {**GRANTED, "nodes": nodes}
    assert asked(Slurm(request=answer, look_up=answer), ASKED, heard=False) == ([{"cancelled": True}], [7])


def test_a_job_is_recorded_before_the_anchor_hears(asked: Ask, container: Container) -> None:
    asked(Slurm(), ASKED)
    assert recovery.read_job(container) == 7


def test_an_existing_job_is_not_recorded(asked: Ask, container: Container) -> None:
    asked(Slurm(), THERE)
    assert recovery.read_job(container) == 0


@pytest.mark.parametrize("error", [JobRefused("ended"), SlurmError("slurmctld can't be reached")])
def test_a_failed_look_up_cancels_a_new_job(error: SlurmError, asked: Ask) -> None:
    said, cancelled = asked(Slurm(request={**GRANTED, "nodes": ""}, look_up=error), ASKED)
    assert (said, cancelled) == ([{"job": 7}, wire.failure(error)], [7])


@pytest.mark.parametrize("asks", [{**ASKED, "look_at": 7}, THERE])
def test_an_existing_job_is_not_cancelled(asks: Message, asked: Ask) -> None:
    error = SlurmError("slurmctld can't be reached")
    said, cancelled = asked(Slurm(look_up=error), asks)
    assert (said[-1], cancelled) == (wire.failure(error), [])


def test_a_job_that_still_waits_is_no_error(asked: Ask) -> None:
    assert asked(Slurm(look_up={**GRANTED, "nodes": ""}), {**ASKED, "look_at": 7}) == ([], [])


def test_how_a_job_ended_is_told(asked: Ask) -> None:
    how = JobRefused("job 7 ended before the container could run: it was cancelled")
    said, _ = asked(Slurm(look_up=JobRefused("invalid job id"), reason=how), {**ASKED, "look_at": 7})
    assert said == [wire.failure(how)]


def test_a_job_of_another_users_is_refused(asked: Ask) -> None:
    theirs = {**GRANTED, "uid": os.getuid() + 1, "user": "bob"}
    said, cancelled = asked(Slurm(look_up=theirs), THERE)
    assert said[-1]["error"] == "JobRefused"
    assert (said[-1]["message"], cancelled) == (
        "job 7 can't be used: it is bob's: name one of yours in SLURM_JOB_ID",
        [],
    )


@pytest.mark.parametrize(
    ("refused", "printed", "said"),
    [
        ("Unspecified error", "x: error: not so:\nx: error: see there\n", "Slurm refused the job: not so; see there"),
        ("Invalid account", "x: error: name yours\n", "Slurm refused the job: Invalid account: name yours"),
        ("Invalid account", "x: debug: nothing\n", "Slurm refused the job: Invalid account"),
    ],
)
def test_a_job_submit_plugins_output_joins_the_error(
    refused: str, printed: str, said: str, asked: Ask, tmp_path: Path
) -> None:
    def refuse() -> Message:
        os.write(2, printed.encode())
        raise JobRefused(f"Slurm refused the job: {refused}")

    kept, file = os.dup(2), os.open(tmp_path / "printed", os.O_RDWR | os.O_CREAT)
    os.write(file, b"x: error: of something else\n")
    os.dup2(file, 2)  # as a worker has it
    try:
        (message,), _cancelled = asked(Slurm(request=refuse), ASKED)
    finally:
        os.dup2(kept, 2)
    assert message == {"error": "JobRefused", "message": said}


def test_its_notice_is_told(asked: Ask) -> None:
    (_job, notice, _nodes), _cancelled = asked(Slurm(request={**GRANTED, "notice": "tomorrow"}), ASKED)
    assert notice == {"notice": "tomorrow"}
