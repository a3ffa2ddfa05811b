"""delete: always, whatever the container does (runtime-spec, runtime.md, Delete; scrun(1), --force)."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from . import slurm
from .conftest import MakeContainer
from .oci import Runtime
from .processes import descendants, is_running
from .waiting import PATIENCE, wait_until


@pytest.mark.slurm_only("a running container needs --force")
def test_delete_kills_a_running_container_and_its_job(container: MakeContainer) -> None:
    one = container("sh", "-c", "trap '' TERM; while :; do sleep 0.1; done").started()
    job = one.record["job"]
    one.call("delete").ok()
    assert one.ended() == 137
    wait_until(lambda: job not in slurm.jobs(), f"job {job} has gone")


@pytest.mark.parametrize("option", ["--force", "-f"])
def test_force_deletes_what_runs_as_well(container: MakeContainer, option: str) -> None:
    one = container("sleep", "1000").started()
    one.call("delete", options=[option]).ok()
    assert not one.path.exists()
    assert one.ended() in (137, -9)


def test_an_unknown_container_does_not_exist(runtime: Runtime, unique_id: str) -> None:
    done = runtime.run("delete", unique_id)
    assert done.status == 1
    if runtime.is_scrun:
        assert "does not exist" in done.stderr  # containerd's shim takes that for success


def test_with_force_an_unknown_container_is_no_error(runtime: Runtime, unique_id: str) -> None:
    done = runtime.run("delete", "--force", unique_id).ok()
    assert done.stderr == ""


def test_concurrent_deletes_succeed_or_report_it_gone(container: MakeContainer) -> None:
    one = container("sleep", "1000").started()
    argv = one.runtime.argv("delete", "--force", one.id)
    both = [one.runtime.user.start(*argv) for _ in range(2)]
    assert [process.wait(PATIENCE) for process in both].count(0) >= 1
    assert not one.path.exists()


@pytest.mark.slurm_only("no process stays with a container")
@pytest.mark.parametrize("status", ["created", "running", "stopped"])
@pytest.mark.parametrize("killed", ["anchor", "stand-in", "both"])
def test_delete_works_with_killed_anchor_or_stand_in(container: MakeContainer, status: str, killed: str) -> None:
    one = container("sleep", "1000").created()
    if status != "created":
        one.call("start").ok()
    if status == "stopped":
        one.call("kill", "KILL").ok()
        one.wait_for("stopped")
    record = one.record
    for name, pid in (("anchor", record["anchor"]), ("stand-in", record["pid"])):
        if killed in (name, "both"):
            send(signal.SIGKILL, pid)
    assert one.call("delete").status == 0
    wait_until(lambda: record["job"] not in slurm.jobs(), "the job has gone")
    assert not one.path.exists()


@pytest.mark.slurm_only("an engine's call comes with the user's environment")
def test_delete_needs_nothing_of_its_callers_environment(container: MakeContainer) -> None:
    # podman's clean-up gets no PATH, HOME or SLURM_CONF; both processes were killed, so delete has to ask Slurm itself.
    one = container("sleep", "1000").started()
    record = one.record
    for pid in (record["anchor"], record["pid"]):
        send(signal.SIGKILL, pid)
    nothing = dict.fromkeys(one.runtime.user.environment({}))
    one.call("delete", options=["--force"], env=nothing).ok()
    wait_until(lambda: record["job"] not in slurm.jobs(), "the job has gone")


@pytest.mark.slurm_only("no such file")
@pytest.mark.parametrize("content", ["", "{", '{"status": "running"', "null", "[]", '"x"', "{}"])
def test_container_with_damaged_state_can_be_deleted(container: MakeContainer, content: str) -> None:
    one = container("sleep", "1000").started()
    (one.path / "state.json").write_text(content)
    done = one.call("state")
    assert (done.status, len(done.stderr.splitlines())) == (1, 1)
    assert "internal error" not in done.stderr
    one.call("delete", options=["--force"]).ok()
    assert not one.path.exists()


@pytest.mark.slurm_only("no such directory")
def test_half_made_create_does_not_block_the_next(container: MakeContainer) -> None:
    one = container("true")
    one.runtime.user.mkdir(one.path, 0o700)
    assert one.started().ended() == 0


@pytest.mark.slurm_only("no anchor")
def test_no_process_of_the_container_outlives_delete(container: MakeContainer) -> None:
    one = container("sleep", "1000").started()
    processes = {one.record["pid"], one.record["anchor"], *descendants(one.record["anchor"])}
    assert len(processes) >= 3  # with srun
    one.call("delete").ok()
    wait_until(lambda: not any(map(is_running, processes)), "they are gone")


def test_delete_follows_no_link_out_of_its_directory(container: MakeContainer, directory: Path) -> None:
    one = container("true").created()
    (directory / "precious").write_text("precious")
    os.symlink(directory, one.path / "link")
    one.call("delete", options=["--force"]).ok()
    assert (directory / "precious").read_text() == "precious"


def send(number: signal.Signals, pid: int) -> None:
    """A signal to a process that may be gone already."""
    if is_running(pid):
        os.kill(pid, number)
