"""A container by hand: create, start, state, kill, delete (runtime-spec, runtime.md)."""

from __future__ import annotations

import os
import re

import pytest

from . import slurm
from .conftest import MakeContainer
from .rootfs import new_network
from .users import User
from .waiting import PATIENCE, wait_until


def test_container_is_created_running_stopped_then_gone(container: MakeContainer) -> None:
    one = container("cat")
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb"):
        one.created(stdin=reader)
        os.close(reader)
        assert one.status() == "created"
        one.call("start").ok()
        assert one.status() == "running"
    one.wait_for("stopped")
    one.call("delete").ok()
    assert one.call("state").status == 1
    assert not one.path.exists()


def test_nothing_of_the_container_runs_before_start(container: MakeContainer) -> None:
    one = container("sh", "-c", "echo ran; sleep 1000").created()
    assert one.output == b""
    one.call("start").ok()
    one.wait_for_output(b"ran\n")


@pytest.mark.slurm_only("there is nothing of Slurm's")
@pytest.mark.parametrize("how", ["runs", "is only created", "is killed"])
def test_nothing_of_slurms_stays_in_the_root_filesystem(container: MakeContainer, how: str) -> None:
    # Where slurmstepd mounts its files: on the spool directory's own path, or (24.11) here.
    mounted = "grep -oE ' /(var/)?run/slurm |oci-job' /proc/self/mountinfo"
    one = container("sh", "-c", f"{mounted}; sleep 1000" if how == "is killed" else "true").created()
    if how != "is only created":
        one.call("start").ok()
    if how == "is killed":
        one.wait_for_output(b"\n")
        one.call("kill", "KILL").ok()
    if how != "is only created":
        one.ended()
    one.call("delete", options=["--force"]).ok()
    assert not [path for path in (one.bundle / "rootfs").rglob("*") if "slurm" in path.name or "oci-job" in path.name]


@pytest.mark.parametrize("status", [0, 1, 7, 125, 126, 127, 128, 137, 255])
def test_pid_files_process_exits_with_the_containers_status(container: MakeContainer, status: int) -> None:
    assert container("sh", "-c", f"exit {status}").started().ended() == status


@pytest.mark.parametrize(("name", "number"), [("KILL", 9), ("SEGV", 11), ("TERM", 15), ("ABRT", 6)])
def test_death_by_signal_is_128_plus_its_number(container: MakeContainer, name: str, number: int) -> None:
    # The container's first process is immune to its own signals; its child isn't.
    one = container("sh", "-c", f"sh -c 'kill -{name} $$'; exit $?")
    assert one.started().ended() == 128 + number


def test_the_pid_file_names_a_descendant(container: MakeContainer) -> None:
    one = container("sleep", "1000").created()
    content = one.pid_file.read_bytes()
    assert re.fullmatch(rb"[1-9][0-9]*", content)
    assert one.state()["pid"] == int(content)
    assert os.path.exists(f"/proc/{int(content)}")


def test_state_prints_all_that_callers_read(container: MakeContainer) -> None:
    one = container("true", change=lambda config: config.update(annotations={"org.example.key": "ü"})).created()
    state = one.state()
    created = state.pop("created")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6,9}Z", created)
    assert re.fullmatch(r"1\.\d+\.\d+\S*", state.pop("ociVersion"))
    state.pop("systemd-scope", None)  # crun's
    assert os.path.join(one.bundle, state.pop("rootfs")) == str(one.bundle / "rootfs")  # crun's is relative
    expected = {
        "id": one.id,
        "pid": int(one.pid_file.read_text()),
        "status": "created",
        "bundle": str(one.bundle),
        "owner": "alice",
        "annotations": {"org.example.key": "ü"},
    }
    assert state == expected


@pytest.mark.slurm_only("leaves the pid in the state of a container that ended by itself")
def test_stopping_changes_only_the_status_and_pid(container: MakeContainer) -> None:
    one = container("true").created()
    before = one.state()
    one.call("start").ok()
    one.ended()
    assert one.state() == {**before, "status": "stopped", "pid": 0}


@pytest.mark.slurm_only("microseconds")
def test_the_time_of_creation_has_nanoseconds(container: MakeContainer) -> None:
    assert re.search(r"\.\d{9}Z$", container("true").created().state()["created"])


@pytest.mark.slurm_only("there is no job")
@pytest.mark.parametrize("status", [0, 7, 137])
def test_the_containers_exit_status_is_its_jobs(container: MakeContainer, status: int) -> None:
    one = container("sh", "-c", f"echo $SLURM_JOB_ID; exit {status}").started()
    one.ended()
    job = int(one.output)
    wait_until(lambda: slurm.job_fields(job)["JobState"] not in ("RUNNING", "COMPLETING"), f"job {job} has ended")
    fields = slurm.job_fields(job)
    assert fields["ExitCode"] == f"{status}:0"
    assert fields["JobState"] == ("COMPLETED" if status == 0 else "FAILED")


@pytest.mark.slurm_only("there is no job")
def test_job_is_the_callers_and_runs_before_start(container: MakeContainer, alice: User) -> None:
    one = container("true").created()
    fields = slurm.job_fields(one.record["job"])
    assert (fields["UserId"], fields["JobState"], fields["JobName"]) == ("alice(2000)", "RUNNING", "scrun")
    assert slurm.jobs(alice) >= {one.record["job"]}


@pytest.mark.slurm_only("there is no job")
def test_job_ends_as_soon_as_the_container_stops(container: MakeContainer) -> None:
    one = container("true").started()
    job = one.record["job"]
    one.ended()
    wait_until(lambda: job not in slurm.jobs(), f"job {job} has gone, without delete")


def test_an_id_can_be_used_again_after_delete(container: MakeContainer) -> None:
    first = container("true").started()
    first.ended()
    first.call("delete").ok()
    second = container("true")
    second.id = first.id
    assert second.started().ended() == 0


def test_the_bundle_is_the_working_directory_unless_named(container: MakeContainer) -> None:
    one = container("true")
    one.runtime.run("create", one.id, cwd=one.bundle).ok()
    assert one.status() == "created"


@pytest.mark.slurm_only("looks for the pid file in the bundle")
def test_relative_paths_start_at_the_working_directory(container: MakeContainer) -> None:
    one = container("true")
    pid_file = os.path.relpath(one.pid_file, one.bundle.parent)
    one.runtime.run("create", "-b", one.bundle.name, "--pid-file", pid_file, one.id, cwd=one.bundle.parent).ok()
    assert one.state()["bundle"] == str(one.bundle)
    assert one.state()["pid"] == int(one.pid_file.read_text())


def test_create_keeps_only_the_stdio_descriptors_open(container: MakeContainer) -> None:
    one = container("sleep", "1000")
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    process = one.runtime.user.start(
        *one.runtime.argv("create", "--bundle", str(one.bundle), one.id), pass_fds=[writer]
    )
    os.close(writer)
    assert process.wait(PATIENCE) == 0
    one.call("start").ok()
    os.set_blocking(reader, False)
    assert os.read(reader, 1) == b""  # the end of the stream: nobody has the other end open
    os.close(reader)


@pytest.mark.parametrize("whose", ["alice", "root"])
def test_the_stand_in_has_the_configs_network_namespace(
    container: MakeContainer, request: pytest.FixtureRequest, whose: str
) -> None:
    # docker configures the network that this process is in: it must not be the machine's.
    user = request.getfixturevalue(whose)
    with_one = container("true", user=user, change=new_network).created()
    without = container("true", user=user).created()
    ours = os.readlink("/proc/self/ns/net")
    assert os.readlink(f"/proc/{with_one.state()['pid']}/ns/net") != ours
    assert os.readlink(f"/proc/{without.state()['pid']}/ns/net") == ours
