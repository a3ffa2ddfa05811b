"""Jobs whose containers are gone: found by the containers' directories, and once in a boot by asking Slurm."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import scrun.slurm
from scrun.errors import SlurmError, SlurmUnreachable
from scrun.lifecycle.container import origin
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.operations import delete
from scrun.lifecycle.recovery import debtor, sweep


class Slurm:
    """In the place of scrun.slurm.jobs and .control, which need libslurm; it writes down what it is told to cancel."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.jobs: dict[int, dict[str, Any]] = {}
        self.error: Exception | None = None

    def of_user(self, _uid: int) -> dict[int, dict[str, Any]]:
        if self.error:
            raise self.error
        return self.jobs

    def cancel(self, job: int) -> None:
        with self.path.open("a") as file:
            file.write(f"{job}\n")

    def cancelled(self) -> list[str]:
        return self.path.read_text().split() if self.path.exists() else []


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    one = Slurm(tmp_path / "cancelled")
    for name in ("jobs", "control"):
        monkeypatch.setitem(sys.modules, f"scrun.slurm.{name}", one)
        monkeypatch.setattr(scrun.slurm, name, one, raising=False)
    return one


@pytest.fixture
def root(tmp_path: Path) -> str:
    path = tmp_path / "root"
    path.mkdir()
    return str(path)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def say(said: list[str]) -> Callable[[str, str], None]:
    return lambda _level, text: said.append(text)


Say = Callable[[str, str], None]


def job(root: str, anchor: int = 0, state: str = "RUNNING", **changes: str) -> Any:
    """A job of a container of this root; without an anchor, of one that is gone."""
    text = origin.mark("box", root, anchor or 1 << 22)  # no pid is that high (proc(5), pid_max)
    for old, new in changes.items():
        text = text.replace(getattr(origin.here(), old), new)
    return {"container": text, "state": state, "submitted": 1000.0, "reason": "", "partition": ""}


def test_the_users_jobs_of_lost_containers_are_ended(slurm: Slurm, root: str, say: Say, said: list[str]) -> None:
    slurm.jobs = {
        1: job(root),
        2: job(root, os.getpid()),
        3: job("/another"),
        4: job(root, state="COMPLETED"),
        5: job(root) | {"container": ""},
        6: job(root, name="login2"),
        7: job(root, boot="f00d"),
        8: job(root, state="PENDING"),
    }
    assert sweep.sweep_now(root, say) == ["box"] * 3
    assert slurm.cancelled() == ["1", "7", "8"]
    host = os.uname().nodename
    assert said == [
        f"job 1 of container 'box' is ended: its processes on {host} were killed",
        f"job 7 of container 'box' is ended: {host} was rebooted meanwhile",
        f"job 8 of container 'box' is ended: its processes on {host} were killed",
    ]


def test_slurm_is_asked_once_in_a_boot(slurm: Slurm, root: str, say: Say) -> None:
    assert sweep.is_due(root)
    sweep.sweep_now(root, say)
    assert not sweep.is_due(root)
    slurm.jobs = {1: job(root)}
    assert sweep.sweep_now(root, say) == []
    Path(root, sweep.SWEPT).write_text("of another boot\n")
    assert sweep.is_due(root)
    assert sweep.sweep_now(root, say) == ["box"]
    assert {*os.listdir(root)} == {sweep.SWEPT, sweep.SWEEPING}


def test_two_do_not_ask_at_once(slurm: Slurm, root: str, say: Say) -> None:
    slurm.jobs = {1: job(root)}
    with open(Path(root, sweep.SWEEPING), "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert sweep.sweep_now(root, say) == []
    assert sweep.is_due(root)


def test_a_mistyped_root_is_not_made(slurm: Slurm, root: str, say: Say) -> None:
    slurm.jobs = {1: job(f"{root}/typo")}
    assert sweep.sweep_now(f"{root}/typo", say) == []
    assert not os.path.exists(f"{root}/typo")
    assert sweep.sweep_now(f"{root}/typo", say, make=True) == ["box"]


def test_where_slurm_does_not_answer_a_process_stays(
    slurm: Slurm, root: str, say: Say, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm.error = SlurmUnreachable("slurmctld can't be reached")
    left: list[str] = []
    monkeypatch.setattr(sweep, "_leave", lambda where, _say, _keep: left.append(where))
    assert sweep.sweep_now(root, say) == []
    assert left == [root]
    assert said == ["can't ask Slurm for jobs whose containers are gone: slurmctld can't be reached"]
    assert sweep.is_due(root)


def test_who_creates_a_container_does_not_wait(
    slurm: Slurm, root: str, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[str] = []
    monkeypatch.setattr(sweep, "_leave", lambda where, _say, _keep: left.append(where))
    sweep.sweep_in_background(root, say, but="new", keep=())
    assert left == [root]
    sweep.sweep_now(root, say)
    sweep.sweep_in_background(root, say, but="new", keep=())
    assert left == [root]


@pytest.mark.parametrize(
    ("errors", "asked"), [([SlurmUnreachable("down"), SlurmUnreachable("down"), None], 3), ([SlurmError("odd")], 1)]
)
def test_the_debtor_asks_again_until_slurm_answers(
    errors: list[Exception | None],
    asked: int,
    fork: Callable[..., int],
    exit_code: Callable[[int], int],
    root: str,
    say: Say,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def tried(*_given: object) -> list[str]:
        with (tmp_path / "tries").open("a") as file:
            file.write("!")
        if error := errors.pop(0):
            raise error
        return []

    monkeypatch.setattr(sweep, "_sweep", tried)
    monkeypatch.setattr(sweep, "_FIRST_PAUSE", 0.001)

    def stay() -> None:
        try:
            sweep._stay(root, say)
        except SlurmError:
            pass

    assert exit_code(fork(stay)) == 0
    assert (tmp_path / "tries").read_text() == "!" * asked


# --- the containers' directories


@pytest.fixture
def lost(container: Container, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[Container]]:
    """The root of a container that has lost all of its own, and those that a process was left for."""
    left: list[Container] = []
    monkeypatch.setattr(debtor, "leave", left.append)
    container.record.update({"job": 7, "job_owned": True, "host": str(origin.here()), "status": "running"})
    container.save()
    fcntl.flock(container.descriptor, fcntl.LOCK_UN)
    return os.path.dirname(container.path), left


Lost = tuple[str, list[Container]]


def test_a_container_without_processes_loses_its_job(lost: Lost, say: Say, said: list[str]) -> None:
    root, left = lost
    sweep.end_lost(root, say, but="another")
    assert [one.id for one in left] == ["box"]
    assert said == ["job 7 of container 'box' is ended, since all its processes here were killed"]
    sweep.end_lost(root, say, but="box")
    assert len(left) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"released": True},
        {"job": None},
        {"job_owned": False, "status": "stopped"},
        {"host": ""},
        {"host": "login2/0.0.0.0"},
        {"debtor": [os.getpid(), 0]},
    ],
)
def test_nothing_is_done_where_nothing_is_owed(
    changes: dict[str, Any], lost: Lost, container: Container, say: Say
) -> None:
    if "debtor" in changes:
        from scrun.lifecycle.process import processes

        changes["debtor"][1] = processes.start_time(os.getpid())
    container.record.update(changes)  # type: ignore[typeddict-item]
    container.save()
    root, left = lost
    sweep.end_lost(root, say)
    assert left == []


def test_a_job_known_only_to_its_worker_ends(lost: Lost, container: Container, say: Say) -> None:
    del container.record["job"], container.record["job_owned"]
    container.save()
    Path(container.path, "job").write_text("8\n")
    root, left = lost
    sweep.end_lost(root, say)
    assert [one.record["job"] for one in left] == [8]


def test_pids_of_another_boot_are_nobodys(lost: Lost, container: Container, say: Say) -> None:
    now = origin.here()
    container.record.update({"host": str(now).replace(now.boot, "f00d"), "step_pid": os.getpid(), "step_started": 1})
    container.save()
    root, left = lost
    sweep.end_lost(root, say)
    assert [one.record["step_pid"] for one in left] == [0]


def test_a_container_that_somebody_holds_is_left_alone(lost: Lost, container: Container, say: Say) -> None:
    root, left = lost
    fcntl.flock(container.descriptor, fcntl.LOCK_EX)
    sweep.end_lost(root, say)
    assert left == []


def test_a_container_being_made_is_not_touched(lost: Lost, container: Container, say: Say) -> None:
    os.unlink(Path(container.path, "state.json"))
    root, left = lost
    sweep.end_lost(root, say)
    sweep.end_lost("/nosuch", say)
    assert left == []


def test_lost_containers_end_despite_a_damaged_record(lost: Lost, say: Say) -> None:
    root, left = lost
    os.mkdir(f"{root}/a")
    Path(f"{root}/a/state.json").write_text("[")
    sweep.end_lost(root, say)
    assert len(left) == 1


# --- delete of what isn't there


def test_a_container_from_before_boot_counts_as_deleted(slurm: Slurm, root: str, say: Say) -> None:
    slurm.jobs = {1: job(root)}
    assert not delete.end_forgotten_job(root, "another", say)
    assert slurm.cancelled() == ["1"]
    os.unlink(Path(root, sweep.SWEPT))
    assert delete.end_forgotten_job(root, "box", say)
    slurm.jobs = {1: job(root)}
    assert not delete.end_forgotten_job(root, "box", say), "Slurm isn't asked at each delete of what isn't there"
