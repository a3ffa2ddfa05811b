"""update: what Slurm lets a user change of a job, and the refusal of the rest by name."""

from __future__ import annotations

import json

import pytest

from . import slurm
from .conftest import MakeContainer
from .engines import Engine
from .oci import Container
from .users import Done, User

pytestmark = pytest.mark.slurm_only("it changes cgroups")

ZEROS = {"memory": {"limit": 0, "swap": 0}, "cpu": {"shares": 0, "quota": 0, "cpus": ""}, "blockIO": {"weight": 0}}


def refused(done: Done) -> str:
    """The one line that it was refused with."""
    assert (done.status, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


@pytest.fixture
def running(container: MakeContainer) -> Container:
    """A container with a time limit of an hour."""
    return container("sleep", "1000").started(env={"SCRUN_TIMELIMIT": "60"})


def test_running_jobs_time_limit_can_be_lowered(running: Container) -> None:
    running.call("update", options=["--time-limit", "0:30:00"]).ok()
    assert slurm.job_fields(running.record["job"])["TimeLimit"] == "00:30:00"


def test_slurm_refuses_a_user_raising_the_limit(running: Container) -> None:
    line = refused(running.call("update", options=["--time-limit", "2:00:00"]))
    assert (
        f"Slurm doesn't change TIMELIMIT=120 of job {running.record['job']}: Access/permission denied: a user can"
        in line
    )
    assert slurm.job_fields(running.record["job"])["TimeLimit"] == "01:00:00"


def test_root_can_raise_it(container: MakeContainer, root: User) -> None:
    one = container("sleep", "1000", user=root).started(env={"SCRUN_TIMELIMIT": "60"})
    one.call("update", options=["--time-limit=1-0"]).ok()
    assert slurm.job_fields(one.record["job"])["TimeLimit"] == "1-00:00:00"


def test_other_properties_are_changed_together(running: Container) -> None:
    running.call("update", options=["--set", "JOB_NAME=fit", "--set", "comment=of-the-tests"]).ok()
    fields = slurm.job_fields(running.record["job"])
    assert (fields["JobName"], fields["Comment"]) == ("fit", "of-the-tests")


def test_slurm_refuses_to_change_a_running_jobs_partition(running: Container) -> None:
    assert "Job is no longer pending execution" in refused(running.call("update", options=["--set", "PARTITION=short"]))


def test_queued_jobs_time_limit_can_be_raised(container: MakeContainer, held_node: int) -> None:
    one = container("true")
    one.created(env={"SCRUN_JOB_NODELIST": "node2", "SCRUN_CREATE_TIMEOUT": "1", "SCRUN_TIMELIMIT": "5"})
    job = one.wait_until_queued()
    one.call("update", options=["--time-limit", "10"]).ok()
    assert slurm.job_fields(job)["TimeLimit"] == "00:10:00"


def test_a_document_of_zeros_changes_nothing(running: Container) -> None:
    argv = running.runtime.argv("update", "--resources=-", running.id)
    running.runtime.user.run(*argv, stdin=json.dumps(ZEROS).encode()).ok()
    running.runtime.user.run(*argv, stdin=b"{}").ok()


def test_a_limit_is_refused_by_name(running: Container) -> None:
    argv = running.runtime.argv("update", "--resources=-", running.id)
    done = running.runtime.user.run(*argv, stdin=json.dumps({**ZEROS, "pids": {"limit": 9}}).encode())
    assert "can't change pids.limit of container" in refused(done)
    assert "can't change --memory of container" in refused(running.call("update", options=["--memory", "64m"]))


# --- docker and podman


def test_docker_changes_a_restart_policy(docker: Engine) -> None:
    # docker sends an empty document then. On a host without the cgroup controllers it never sends another.
    name = docker.detached("sleep", "1000")
    docker.call("update", "--restart=no", name).ok()


def test_podman_is_refused_a_limit_by_name(podman: Engine) -> None:
    name = podman.detached("sleep", "1000")
    done = podman.call("update", "--cpus", "2", name)
    assert done.status != 0
    assert "can't change cpu.quota, cpu.period of container" in done.stderr
    assert podman.is_running(name)


def test_podman_may_repeat_the_limits_of_create(podman: Engine) -> None:
    name = podman.detached("sleep", "1000", options=("--memory", "64m"))
    podman.call("update", "--memory", "64m", name).ok()
    assert "can't change memory.limit" in podman.call("update", "--memory", "32m", name).stderr
