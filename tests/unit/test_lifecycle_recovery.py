"""What is paid for a container whose anchor is gone, from its record alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

import scrun.slurm
from scrun.errors import ScrunError, SlurmError
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.recovery import recovery

TIME = "2026-01-02T03:04:05.000000006Z"
STAGED: Any = {"bundle": "/b", "rootfs": "/b/rootfs", "node_parent": "/tmp", "node_name": "1-box", "nodes": ["node1"]}


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """The directory that stage_in made beside the bundle."""
    path = tmp_path / ".scrun-box"
    path.mkdir(0o700)
    (path / "config.json").write_text("{}")
    return path


class Slurm:
    """In the place of scrun.slurm.control, which needs libslurm: what was cancelled, as long as it can be reached."""

    def __init__(self) -> None:
        self.cancelled: list[tuple[int, ...]] = []
        self.is_down = False

    def cancel(self, *job: int) -> None:
        if self.is_down:
            raise SlurmError("slurmctld can't be reached")
        self.cancelled.append(job)

    cancel_step = cancel


@pytest.fixture(autouse=True)
def slurm(monkeypatch: pytest.MonkeyPatch) -> Slurm:
    made = Slurm()
    monkeypatch.setitem(sys.modules, "scrun.slurm.control", made)
    monkeypatch.setattr(scrun.slurm, "control", made, raising=False)
    return made


def _again(container: Container) -> Any:
    """The record as it is on disk."""
    container.load()
    return container.record


def test_stage_in_leftovers_go_and_are_not_owed(container: Container, spool: Path) -> None:
    container.record.update({"status": "running", "stage_out_owed": True, "staged": STAGED | {"spool": str(spool)}})
    container.save()
    recovery.end(container)
    assert not spool.exists()
    assert (_again(container)["stage_out_owed"], container.record["status"]) == (False, "stopped")


def test_after_an_orderly_end_nothing_is_touched(container: Container, spool: Path, slurm: Slurm) -> None:
    container.record.update(
        {"status": "stopped", "exit_status": 0, "finished": TIME, "released": True, "job_owned": True, "job": 1}
    )
    container.record.update({"step": "0", "stage_out_owed": False, "staged": STAGED | {"spool": str(spool)}})
    container.save()
    before = dict(container.record)
    recovery.end(container)
    assert (spool.exists(), slurm.cancelled) == (True, [])
    assert _again(container) == before


def test_the_job_of_a_damaged_record_is_cancelled(container: Container, slurm: Slurm) -> None:
    container.record.update({"status": "running", "job_owned": True, "job": 7, "pid": "1"})  # type: ignore[typeddict-item]  # as it may be on disk
    container.save()
    recovery.end(container)
    assert slurm.cancelled == []  # nobody says which it was
    Path(container.path, "job").write_text("7\n")
    recovery.end(container)
    assert slurm.cancelled == [(7,)]


def test_a_job_of_its_own_is_cancelled_once(container: Container, slurm: Slurm) -> None:
    container.record.update({"status": "running", "job_owned": True, "job": 7, "step": "0"})
    container.save()
    recovery.end(container)
    recovery.end(container)
    assert (slurm.cancelled, _again(container)["released"]) == ([(7,)], True)


def test_a_job_unknown_to_the_anchor_is_cancelled(container: Container, slurm: Slurm) -> None:
    container.record.update({"status": "creating"})
    container.save()
    Path(container.path, "job").write_text("7\n")
    recovery.end(container)
    assert (slurm.cancelled, _again(container)["released"]) == ([(7,)], True)


def test_a_job_not_given_back_stays_owed(container: Container, slurm: Slurm) -> None:
    container.record.update({"status": "running", "job_owned": True, "job": 7})
    container.save()
    slurm.is_down = True
    with pytest.raises(ScrunError, match="can't be reached"):
        recovery.end(container)
    assert not _again(container).get("released")
    assert container.record["status"] == "running"


@pytest.mark.parametrize(
    ("status", "step", "cancelled"),
    [("running", "3", [(7, 3)]), ("paused", "3", [(7, 3)]), ("running", "", []), ("stopped", "3", [])],
)
def test_only_the_step_ends_in_anothers_job(
    status: str, step: str, cancelled: list[tuple[int, ...]], container: Container, slurm: Slurm
) -> None:
    container.record.update({"status": status, "job_owned": False, "job": 7, "step": step})
    container.save()
    recovery.end(container)
    assert slurm.cancelled == cancelled


def test_slurm_is_asked_with_the_environment_of_create(
    container: Container, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", "/another")
    container.record.update(
        {"status": "running", "job_owned": True, "job": 7, "environment": {"SLURM_CONF": "/creates"}}
    )
    container.save()
    recovery.end(container)
    assert (os.environ["SLURM_CONF"], slurm.cancelled) == ("/creates", [(7,)])


def test_an_unknown_end_counts_as_killed(container: Container) -> None:
    container.record["status"] = "running"
    container.save()
    recovery.end(container)
    assert (_again(container)["exit_status"], container.record["status"]) == (137, "stopped")


def test_debts_are_paid_despite_an_unwritable_record(container: Container) -> None:
    os.mkdir(container.child(f"state.json.{os.getpid()}"))
    recovery.end(container)
    assert container.record["status"] == "stopped"
