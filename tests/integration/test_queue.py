"""A job that waits in the queue: create returns within a limit, start at once, the process begins with the job."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from . import slurm
from .conftest import MakeContainer
from .oci import Container
from .processes import descendants
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("nothing is queued")

SOON = {"SCRUN_JOB_NODELIST": "node2", "SCRUN_CREATE_TIMEOUT": "1"}


@pytest.fixture
def queued(container: MakeContainer, held_node: int) -> Container:
    """A created container whose job is queued."""
    one = container("sh", "-c", "echo ran on $SLURMD_NODENAME; exit 7").created(env=SOON)
    assert slurm.job_fields(one.wait_until_queued())["JobState"] == "PENDING"
    return one


def test_create_returns_at_its_limit_with_job_queued(queued: Container) -> None:
    assert queued.status() == "created"
    assert queued.state()["pid"] == int(queued.pid_file.read_text())


def test_create_says_once_which_job_waits_and_why(container: MakeContainer, held_node: int) -> None:
    one = container("true")
    one.create(env={**SOON, "SCRUN_DEBUG": "info"}).ok()
    lines = [line for line in one.errors.decode().splitlines() if "queued" in line]
    assert lines
    assert all(str(one.record["job"]) in line for line in lines)
    assert len(set(lines)) == len(lines)


def test_what_slurm_has_not_answered_yet_is_said(container: MakeContainer, slurm_conf: Callable[..., Path]) -> None:
    with socket.create_server(("localhost", 0)) as silent:  # it accepts what comes, and never answers
        conf = slurm_conf(
            SlurmctldHost="login(127.0.0.1)", SlurmctldPort=str(silent.getsockname()[1]), MessageTimeout="60"
        )
        one = container("true").started(env={"SCRUN_CREATE_TIMEOUT": "1", "SLURM_CONF": str(conf)})
        for words in (("pause",), ("ps",), ("exec", "true")):
            done = one.call(*words)
            assert done.status in (1, 255)
            assert done.stderr.endswith(": Slurm hasn't answered yet that it takes its job\n")
        assert one.status() == "running"
    one.call("delete", options=["--force"]).ok()


def test_start_returns_before_the_queued_job_runs(queued: Container, held_node: int) -> None:
    queued.call("start").ok()
    assert queued.status() == "running"
    assert queued.output == b""
    slurm.release(held_node)
    assert queued.ended() == 7
    assert queued.output == b"ran on node2\n"


@pytest.fixture
def long_queued(queued: Container) -> Container:
    """One that has been started, and whose job has waited for so long that no worker waits for it any more."""
    queued.call("start").ok()
    wait_until(lambda: not descendants(queued.record["anchor"]), "its worker has ended", 30)
    return queued


def test_a_long_queue_keeps_no_worker(long_queued: Container, held_node: int) -> None:
    assert long_queued.status() == "running"
    slurm.release(held_node)
    assert long_queued.ended() == 7
    assert long_queued.output == b"ran on node2\n"


def test_queued_containers_learn_from_each_other(
    long_queued: Container, container: MakeContainer, held_node: int
) -> None:
    two = container("true").started(env=SOON)
    jobs = {str(one.record["job"]) for one in (long_queued, two)}

    def known() -> set[str]:
        files = [path for path in two.path.parent.glob(".queued-*") if path.suffix != ".lock"]
        return {*files[0].read_text().partition("\n")[2].split()} if files else set()

    wait_until(lambda: jobs <= known(), "one has asked for both", 60)
    slurm.release(held_node)
    assert (long_queued.ended(), two.ended()) == (7, 0)


def test_a_long_queued_container_can_be_killed(long_queued: Container) -> None:
    job = long_queued.record["job"]
    long_queued.call("kill", "KILL").ok()
    assert long_queued.ended() == 137
    wait_until(lambda: job not in slurm.jobs(), "the job has gone")


def test_job_that_starts_early_waits_for_start(queued: Container, held_node: int) -> None:
    slurm.release(held_node)
    job = queued.record["job"]
    wait_until(lambda: slurm.job_fields(job)["JobState"] == "RUNNING", "the job runs")
    wait_until(lambda: queued.record.get("job_bundle"), "its files are there")
    assert queued.status() == "created"
    queued.call("start").ok()
    assert queued.ended() == 7


@pytest.mark.parametrize("started", [False, True], ids=["created", "started"])
@pytest.mark.parametrize(("name", "status"), [("TERM", 143), ("KILL", 137)])
def test_a_queued_container_is_killed_with_its_job(queued: Container, started: bool, name: str, status: int) -> None:
    job = queued.record["job"]
    if started:
        queued.call("start").ok()
    queued.call("kill", name).ok()
    assert queued.ended() == status
    wait_until(lambda: job not in slurm.jobs(), "the job has gone")
    assert queued.status() == "stopped"


@pytest.mark.parametrize("started", [False, True], ids=["created", "started"])
def test_a_queued_container_is_deleted_with_its_job(queued: Container, started: bool) -> None:
    job = queued.record["job"]
    if started:
        queued.call("start").ok()
    queued.call("delete").ok()
    wait_until(lambda: job not in slurm.jobs(), "the job has gone")
    assert queued.ended() == 137


@pytest.mark.parametrize("started", [False, True], ids=["created", "started"])
def test_a_job_cancelled_in_the_queue_is_told(queued: Container, started: bool) -> None:
    job = queued.record["job"]
    if started:
        queued.call("start").ok()
    slurm.cancel(job)
    assert queued.ended() not in (0, 7)
    lines = [line for line in queued.errors.decode().splitlines() if f"job {job}" in line]
    assert len(lines) == 1 + started, "one that was started has said that it is queued"
    assert "cancelled" in lines[-1]
    assert queued.output == b""
    assert queued.status() == "stopped"


def test_a_late_stage_in_failure_is_a_line(queued: Container, held_node: int) -> None:
    queued.call("start").ok()
    shutil.rmtree(queued.bundle / "rootfs")
    slurm.release(held_node)
    assert queued.ended() != 0
    assert queued.errors.strip()
    assert b"Traceback" not in queued.errors
