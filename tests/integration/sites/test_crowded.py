"""A crowded site: preemption in its three ways, jobs that are forgotten at once, private data, affinity."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from integration import slurm
from integration.conftest import MakeContainer
from integration.oci import Container
from integration.test_bad_bundle import assert_refused
from integration.users import User
from integration.waiting import wait_until

TICKS = ("sh", "-c", "while :; do echo tick; sleep 0.1; done")


@pytest.fixture
def preempt(bob: User) -> Iterator[Callable[[], int]]:
    """Has an urgent job of somebody else's take node1; it ends with the test at the latest."""
    made: list[int] = []

    def take() -> int:
        made.append(slurm.allocate(bob, "--partition=urgent", "--exclusive", "--nodelist=node1"))
        return made[-1]

    yield take
    for job in made:
        if job in slurm.jobs():
            slurm.release(job)


def on_node1(one: Container, partition: str) -> Container:
    one.started(env={"SCRUN_PARTITION": partition, "SCRUN_JOB_NODELIST": "node1"})
    one.wait_for_output(b"tick")
    return one


def listed(one: Container) -> dict[str, Any]:
    entries = json.loads(one.runtime.run("list", "--format=json").ok().stdout)
    found: dict[str, Any] = next(entry for entry in entries if entry["id"] == one.id)
    return found


def test_suspended_container_is_listed_and_continues(container: MakeContainer, preempt: Callable[[], int]) -> None:
    one = on_node1(container(*TICKS), "suspended")
    assert (listed(one)["status"], listed(one)["suspended"]) == ("running", False)
    urgent = preempt()
    wait_until(lambda: listed(one)["suspended"], "its job is suspended")
    assert any(one.id in line and "running, suspended" in line for line in one.runtime.run("list").stdout.splitlines())
    assert one.status() == "running"  # engines would take paused for their own pause
    slurm.release(urgent)
    wait_until(lambda: not listed(one)["suspended"], "its job goes on", 60)
    said = len(one.output)
    wait_until(lambda: len(one.output) > said, "it goes on")


def test_a_suspended_container_can_be_killed(container: MakeContainer, preempt: Callable[[], int]) -> None:
    one = on_node1(container(*TICKS), "suspended")
    preempt()
    wait_until(lambda: listed(one)["suspended"], "its job is suspended")
    one.call("kill", "KILL").ok()
    assert one.ended() == 137


@pytest.mark.parametrize("partition", ["cancelled", "requeued"])
def test_preempted_container_ends_and_is_not_requeued(
    container: MakeContainer, preempt: Callable[[], int], partition: str
) -> None:
    one = on_node1(container(*TICKS), partition)
    job = one.record["job"]
    preempt()
    assert one.ended() in (143, 137)
    assert b"CANCELLED" in one.errors
    wait_until(lambda: job not in slurm.jobs(), f"job {job} has gone")


def test_forgotten_job_is_reported_as_ended(container: MakeContainer) -> None:
    one = container("true").created()
    job = one.record["job"]
    slurm.cancel(job)
    wait_until(lambda: job not in slurm.known_jobs(), f"job {job} is forgotten")
    done = one.call("start")
    assert done.status
    assert "Traceback" not in done.stderr
    assert one.ended() == 125
    assert f"job {job}" in one.errors.decode() + done.stderr
    one.call("delete").ok()


def test_ended_container_outlives_slurms_memory_of_its_job(container: MakeContainer) -> None:
    one = container("sh", "-c", "exit 7").started()
    job = one.record["job"]
    assert one.ended() == 7
    wait_until(lambda: job not in slurm.known_jobs(), f"job {job} is forgotten")
    assert (one.status(), listed(one)["exitStatus"]) == ("stopped", 7)


def test_another_users_invisible_job_is_refused(container: MakeContainer, bob: User) -> None:
    job = slurm.allocate(bob)
    try:
        assert job not in {int(line) for line in container("true").runtime.user.run("squeue", "-ho%A").stdout.split()}
        assert_refused(container("true").create(env={"SLURM_JOB_ID": str(job)}), f"job {job}")
    finally:
        slurm.release(job)


def test_container_runs_where_tasks_are_bound_to_cpus(container: MakeContainer, alice: User) -> None:
    shown = ("grep", "Cpus_allowed_list", "/proc/self/status")
    everywhere = alice.run(*shown).ok().output
    assert alice.run("srun", "--cpus-per-task=1", *shown).ok().output != everywhere  # tasks are bound
    one = container(*shown).started(env={"SCRUN_CPUS_PER_TASK": "1"})
    assert one.ended() == 0
    assert one.output == everywhere  # as with srun --container: crun undoes it, and only a cgroup would hold
