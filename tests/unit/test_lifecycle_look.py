"""The worker that looks up a job once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
from test_lifecycle_allocate import GRANTED, Message, Slurm

import scrun.slurm
from scrun.errors import JobRefused, SlurmError
from scrun.lifecycle.container.worker_messages import from_look
from scrun.lifecycle.process import wire

QUEUED = {"job": 7, "queued": True}
Look = Callable[[Slurm, Message], Any]


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Look:
    """What the worker says to an order, for a Slurm that the test plays."""

    def look(slurm: Slurm, order: Message) -> Any:
        played: Any = slurm
        for name in ("allocation", "control"):
            monkeypatch.setitem(sys.modules, f"scrun.slurm.{name}", played)
            monkeypatch.setattr(scrun.slurm, name, played, raising=False)
        monkeypatch.delitem(sys.modules, "scrun.lifecycle.worker.look", raising=False)
        from scrun.lifecycle.worker import look as worker

        monkeypatch.setattr(worker, "control", played)
        here, there = wire.pair()
        wire.send(here, order)
        worker.serve(there)
        said = wire.Reader(here).next(from_look)
        for end in (here, there):
            os.close(end)
        return said

    return look


def test_a_queued_job_with_nodes_is_told(looked: Look) -> None:
    assert looked(Slurm(look_up=GRANTED), QUEUED) == {"has_nodes": True}


def test_a_job_that_still_waits_is_told(looked: Look) -> None:
    assert looked(Slurm(look_up={"job": 7, "nodes": ""}), QUEUED) == {"has_nodes": False}


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
