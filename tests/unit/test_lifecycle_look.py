"""The worker that looks up a job once."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_lifecycle_allocate import GRANTED, Message, Slurm

import scrun.slurm
from scrun import identity
from scrun.errors import JobRefused, SlurmError
from scrun.lifecycle.container import queued_jobs
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.container.worker_messages import from_look
from scrun.lifecycle.process import wire
from scrun.lifecycle.worker import look as worker

UID = identity.real_uid()
QUEUED = {"job": 7, "queued": True}
Look = Callable[[Slurm, Message], Any]


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch, container: Container) -> Look:
    """What the worker says to an order, for a Slurm that the test plays; all jobs of its ``states`` are the user's."""

    def look(slurm: Slurm, order: Message) -> Any:
        played: Any = slurm
        played.of_user = (
            lambda uid: {number: {"state": state} for number, state in states.items()} if uid == UID else {}
        )
        for name in ("allocation", "control", "jobs"):
            monkeypatch.setitem(sys.modules, f"scrun.slurm.{name}", played)
            monkeypatch.setattr(scrun.slurm, name, played, raising=False)
        here, there = wire.pair()
        wire.send(here, order)
        try:
            worker.serve(there, container)
            return wire.Reader(here).next(from_look)
        finally:
            for end in (here, there):
                os.close(end)

    states: dict[int, str] = {}
    look.states = states  # type: ignore[attr-defined]
    return look


def test_a_queued_job_with_nodes_is_told(looked: Look) -> None:
    assert looked(Slurm(look_up=GRANTED), QUEUED) == {"has_nodes": True}


def test_a_job_that_still_waits_is_told(looked: Look) -> None:
    assert looked(Slurm(look_up={"job": 7, "nodes": ""}), QUEUED) == {"has_nodes": False}


def test_one_look_tells_of_all_queued_jobs(looked: Look, container: Container) -> None:
    root = os.path.dirname(container.path)
    looked.states.update({6: "PENDING", 7: "PENDING", 8: "RUNNING"})  # type: ignore[attr-defined]
    assert looked(Slurm(look_up=JobRefused("not asked for itself")), QUEUED) == {"has_nodes": False}
    assert [queued_jobs.is_queued(root, number) for number in (6, 7, 8, 67)] == [True, True, False, False]


def test_nobody_asks_while_another_does(looked: Look, container: Container) -> None:
    root = os.path.dirname(container.path)
    queued_jobs.write(root, [])
    (path,) = Path(root).glob(".queued-*")
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert looked(Slurm(look_up=GRANTED), QUEUED) == {"has_nodes": False}
    assert looked(Slurm(look_up=GRANTED), QUEUED) == {"has_nodes": True}


@pytest.mark.parametrize("seconds", [-queued_jobs.FRESH, 1.0])
def test_an_answer_counts_for_a_while(seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + seconds)
    queued_jobs.write(str(tmp_path), [7])
    assert queued_jobs.is_queued(str(tmp_path), 7)
    monkeypatch.setattr(time, "time", lambda: now)
    assert not queued_jobs.is_queued(str(tmp_path), 7), "it is old, or the clock was set back"


def test_another_cluster_has_a_list_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queued_jobs.write(str(tmp_path), [7])
    monkeypatch.setenv("SLURM_CONF", "/other/slurm.conf")
    assert not queued_jobs.is_queued(str(tmp_path), 7)


@pytest.mark.parametrize("content", ["", "\n7", "x\n7", "nan\n7", "1e999\n7"])
def test_a_damaged_list_says_nothing(content: str, tmp_path: Path) -> None:
    queued_jobs.write(str(tmp_path), [7])
    (path,) = tmp_path.iterdir()
    path.write_text(content)
    assert not queued_jobs.is_queued(str(tmp_path), 7)


def test_how_a_queued_job_ended_is_the_error(looked: Look) -> None:
    slurm = Slurm(look_up=JobRefused("invalid job id"), reason=JobRefused("job 7 was cancelled"))
    with pytest.raises(JobRefused, match="job 7 was cancelled"):
        looked(slurm, QUEUED)


def test_a_forgotten_job_is_an_error(looked: Look) -> None:
    with pytest.raises(JobRefused, match="invalid job id"):
        looked(Slurm(look_up=JobRefused("invalid job id")), QUEUED)


def test_an_unreachable_slurmctld_is_an_error(looked: Look) -> None:
    with pytest.raises(SlurmError, match="silent"):
        looked(Slurm(look_up=SlurmError("silent")), QUEUED)


@pytest.mark.parametrize(("answer", "gone"), [(GRANTED, False), (JobRefused("gone"), True)])
def test_whether_a_job_is_there(looked: Look, answer: object, gone: bool) -> None:
    assert looked(Slurm(look_up=answer), {"job": 7}) == {"gone": gone}
