"""What a container needs before it can run: which worker is told what and when, and what ends it all."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from scrun.errors import JobRefused, ScrunError, SlurmError
from scrun.lifecycle.anchor.preparation import LONGEST_LOOK_AGAIN, Preparation
from scrun.lifecycle.container import queued_jobs
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.process import wire

Message = Any  # as a test makes it
PLAN: Any = {
    "script": "s",
    "lua": "",
    "staging": {"network": "host", "login": ""},
    "record": {"bundle": "/b"},
    "job": {"request": {"name": "scrun"}},
    "step_environment": {"SLURM_OVERLAP": "1"},
}
NODES = {"nodes": "n1", "uid": 1, "gid": 1, "user": "u", "group": "g", "tasks": 1, "environment": [], "gpus": []}
NODES |= {"slurm": [26, 5]}
STAGED = {"staged": {}, "bundle": "/b", "rootfs": "/b/r", "networked": "", "hold": False, "task_prolog": ""}
STAGED |= {"step_bundle": "", "init": "/dev/.scrun/init", "unconnected": "", "network": "host"}
STAGED |= {"login": "10.0.0.1", "network_links": "", "network_user": [0, 0], "remark": ""}
CONNECTION: Any = {"settings": "key 0\n", "port": 7, "why": ""}
DOWN = wire.failure(SlurmError("slurmctld can't be reached"))


class FakeWorker:
    """A worker that the test plays."""

    def __init__(self, work: str, said: Callable[[Message], None], ended: Callable[[], None]) -> None:
        self.work, self.says, self.ends = work, said, ended
        self.told: list[Message] = []
        self.stopped = ""

    def send(self, message: Message) -> None:
        self.told.append(message)

    def cancel(self) -> None:
        self.stopped = "cancelled"

    def kill(self) -> None:
        self.stopped = "killed"

    def last_words(self, otherwise: str) -> str:
        return otherwise


class FakeLoop:
    """Timers that the test lets go off."""

    def __init__(self) -> None:
        self.timers: dict[int, tuple[float, Callable[[], None]]] = {}
        self._number = 0

    def after(self, seconds: float, due: Callable[[], None]) -> int:
        self._number += 1
        self.timers[self._number] = seconds, due
        return self._number

    def forget(self, timer: int) -> None:
        self.timers.pop(timer, None)

    def go_off(self) -> float:
        """The one timer; the seconds that it was for."""
        ((number, (seconds, due)),) = self.timers.items()
        del self.timers[number]
        due()
        return seconds


class Rehearsed(Preparation):
    """One whose workers are fakes."""

    def __init__(self, *arguments: Any, **callbacks: Any) -> None:
        self.made: list[FakeWorker] = []
        super().__init__(*arguments, **callbacks)

    def _worker(self, work: str, _check: Any, said: Callable[[Message], None], ended: Callable[[], None]) -> Any:
        self.made.append(FakeWorker(work, said, ended))
        return self.made[-1]


class Stage:
    """A preparation, and what it called."""

    def __init__(self, container: Container) -> None:
        self.loop = FakeLoop()
        self.record = container.record
        self.told: list[Message] = []
        self.ready = 0
        self.failed: list[ScrunError] = []
        self.preparation = Rehearsed(
            self.loop,
            container,
            save=lambda: None,
            tell=self.told.append,
            connect=lambda: CONNECTION,
            ready=self._ready,
            failed=self.failed.append,
        )

    def _ready(self) -> None:
        self.ready += 1

    @property
    def looking(self) -> FakeWorker:
        """The last that was begun to look at a queued job."""
        return [made for made in self.preparation.made if made.work == "look"][-1]

    @property
    def preparing(self) -> FakeWorker:
        """The last that was begun to load the script, and so on."""
        return [made for made in self.preparation.made if made.work == "prepare"][-1]


@pytest.fixture
def stage(container: Container) -> Stage:
    made = Stage(container)
    made.preparation.begin(PLAN)
    return made


@pytest.fixture
def queued(stage: Stage) -> Stage:
    """One whose job waits, and is looked at now and then."""
    stage.preparing.says({"loaded": "s"})
    stage.preparing.says({"job": 7})
    stage.preparing.says({"waiting": "Resources"})
    stage.preparing.says({"still_queued": True})
    stage.preparing.ends()
    return stage


def test_no_job_is_requested_before_the_script_loads(stage: Stage) -> None:
    assert stage.preparing.told == [{"script": "s", "lua": "", "staging": PLAN["staging"], "bundle": "/b"}]
    stage.preparing.says({"loaded": "s"})
    assert stage.preparing.told[1:] == [{"plan": PLAN["job"], "step": {"SLURM_OVERLAP": "1"}, "look_at": 0}]


def test_a_script_that_cannot_load_costs_no_job(stage: Stage) -> None:
    stage.preparing.says(wire.failure(ScrunError("broken")))
    stage.preparing.ends()
    assert len(stage.preparing.told) == 1
    assert [str(error) for error in stage.failed] == ["broken"]


def test_files_are_staged_once_nodes_are_there(stage: Stage) -> None:
    stage.preparing.says({"loaded": "s"})
    stage.preparing.says({"job": 7})
    stage.preparing.says({"nodes": NODES})
    assert stage.preparing.told[-1] == {"record": stage.record, "connection": CONNECTION}
    assert (stage.record["job"], stage.record["job_owned"], stage.record["nodes"]) == (7, True, "n1")
    assert stage.ready == 0
    stage.preparing.says(STAGED)
    assert (stage.ready, stage.record["stage_out_owed"]) == (1, True)
    assert (stage.record["init"], stage.record["unconnected"]) == ("/dev/.scrun/init", "")
    stage.preparing.ends()
    assert (stage.ready, stage.failed) == (1, [])


def test_a_queued_job_is_looked_at_less_often(queued: Stage) -> None:
    pauses = []
    for _ in range(8):
        pauses.append(queued.loop.go_off())
        assert queued.looking.told == [{"job": 7, "queued": True}]
        queued.looking.says({"has_nodes": False})
        queued.looking.ends()
    assert pauses[:3] == [3.0, 4.5, 6.75]
    assert pauses[-1] == LONGEST_LOOK_AGAIN == 15.0
    assert queued.failed == []


def test_what_another_container_has_learnt_is_used(queued: Stage, container: Container) -> None:
    root = os.path.dirname(container.path)
    queued_jobs.write(root, [6, 7])
    begun = len(queued.preparation.made)
    queued.loop.go_off()
    assert len(queued.preparation.made) == begun
    queued_jobs.write(root, [6, 77])
    queued.loop.go_off()
    assert queued.looking.told == [{"job": 7, "queued": True}]


def test_an_outage_ends_no_queued_job(queued: Stage) -> None:
    queued.loop.go_off()
    queued.looking.says(DOWN)
    queued.looking.ends()
    assert queued.failed == []
    assert queued.told[-1]["log"] == "info"
    assert "looking again later" in queued.told[-1]["message"]
    assert queued.loop.go_off() == 4.5


def test_another_worker_prepares_what_was_queued(queued: Stage) -> None:
    first = queued.preparing
    queued.loop.go_off()
    queued.looking.says({"has_nodes": True})
    assert queued.preparing is first
    queued.looking.ends()
    assert queued.preparing is not first
    assert queued.preparing.told == [{"script": "s", "lua": "", "staging": PLAN["staging"], "bundle": "/b"}]
    queued.preparing.says({"loaded": "s"})
    assert queued.preparing.told[1:] == [{"plan": PLAN["job"], "step": {"SLURM_OVERLAP": "1"}, "look_at": 7}]
    assert "nodes" not in queued.record
    queued.preparing.says({"nodes": NODES})
    assert queued.preparing.told[-1] == {"record": queued.record, "connection": CONNECTION}
    queued.preparing.says(STAGED)
    assert (queued.ready, queued.failed, queued.loop.timers) == (1, [], {})
    assert [one for one in queued.told if "granted" in one] == [{"granted": "n1"}]


def test_a_job_queued_again_is_looked_at_again(queued: Stage) -> None:
    queued.loop.go_off()
    queued.looking.says({"has_nodes": True})
    queued.looking.ends()
    queued.preparing.says({"loaded": "s"})
    queued.preparing.says({"still_queued": True})  # it was requeued, or slurmctld is silent now
    queued.preparing.ends()
    assert queued.failed == []
    assert queued.loop.go_off() == 4.5
    assert queued.looking.told == [{"job": 7, "queued": True}]


def test_a_job_ending_in_the_queue_ends_everything(queued: Stage) -> None:
    queued.loop.go_off()
    queued.looking.says(wire.failure(JobRefused("job 7 was cancelled")))
    queued.looking.ends()
    assert [str(error) for error in queued.failed] == ["job 7 was cancelled"]
    assert queued.loop.timers == {}


def test_a_script_broken_meanwhile_ends_everything(queued: Stage) -> None:
    queued.loop.go_off()
    queued.looking.says({"has_nodes": True})
    queued.looking.ends()
    queued.preparing.says(wire.failure(ScrunError("broken")))
    queued.preparing.ends()
    assert [str(error) for error in queued.failed] == ["broken"]
    assert queued.loop.timers == {}


def test_an_initially_unreachable_slurmctld_is_an_error(stage: Stage) -> None:
    stage.preparing.says({"loaded": "s"})
    stage.preparing.says(DOWN)
    stage.preparing.ends()
    assert [str(error) for error in stage.failed] == ["slurmctld can't be reached"]


def test_giving_up_on_a_queued_job_ends_watching(queued: Stage) -> None:
    queued.preparation.cancel(ScrunError("the container was killed"))
    assert [str(error) for error in queued.failed] == ["the container was killed"]
    assert queued.loop.timers == {}


def test_giving_up_before_the_worker_has_gone(stage: Stage) -> None:
    stage.preparing.says({"loaded": "s"})
    stage.preparing.says({"job": 7})
    stage.preparing.says({"still_queued": True})
    stage.preparation.cancel(ScrunError("the container was killed"))
    assert (stage.preparing.stopped, stage.failed) == ("cancelled", [])
    stage.preparing.ends()
    assert [str(error) for error in stage.failed] == ["the container was killed"]
    assert stage.loop.timers == {}


def test_a_cancelled_worker_is_waited_for(stage: Stage) -> None:
    stage.preparing.says({"loaded": "s"})
    stage.preparation.cancel(ScrunError("create was interrupted"))
    assert (stage.preparing.stopped, stage.failed) == ("cancelled", [])
    stage.preparing.ends()
    assert [str(error) for error in stage.failed] == ["create was interrupted"]


def test_giving_up_during_a_look_waits_for_it(queued: Stage) -> None:
    queued.loop.go_off()
    queued.preparation.cancel(ScrunError("the container was killed"))
    assert queued.looking.stopped == "cancelled"
    queued.looking.says({"has_nodes": True})
    assert queued.failed == []
    queued.looking.ends()
    assert {str(error) for error in queued.failed} == {"the container was killed"}
    assert queued.loop.timers == {}


def test_a_refused_job_is_not_looked_at(stage: Stage) -> None:
    stage.preparing.says({"loaded": "s"})
    stage.preparing.says(wire.failure(JobRefused("Invalid account")))
    stage.preparing.says({"still_queued": True})
    stage.preparing.ends()
    assert ([str(error) for error in stage.failed], stage.loop.timers) == (["Invalid account"], {})


@pytest.mark.parametrize(("before", "error"), [([], SlurmError), ([{"job": 7}, {"nodes": NODES}], ScrunError)])
def test_a_worker_without_an_answer_is_an_error(before: list[Message], error: type[ScrunError], stage: Stage) -> None:
    for message in ({"loaded": "s"}, *before):
        stage.preparing.says(message)
    stage.preparing.ends()
    assert [type(one) for one in stage.failed] == [error]


def test_late_files_do_not_make_it_ready(stage: Stage) -> None:
    stage.preparing.says({"loaded": "s"})
    stage.preparing.says({"nodes": NODES})
    stage.preparation.cancel(ScrunError("create was interrupted"))
    stage.preparing.says(STAGED)
    stage.preparing.ends()
    assert stage.ready == 0
    assert len(stage.failed) == 1
    assert stage.record["stage_out_owed"], "what was staged has to be undone"
