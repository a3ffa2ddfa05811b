"""Slurm confines jobs by cgroups: a container has its job's CPUs and memory, and what runs in it ends with its job."""

from __future__ import annotations

import json

from integration import slurm
from integration.conftest import MakeContainer
from integration.engines import Engine
from integration.users import User
from integration.waiting import wait_until


def test_a_container_has_its_jobs_cpus(container: MakeContainer, alice: User) -> None:
    shown = ("grep", "Cpus_allowed_list", "/proc/self/status")
    expected = alice.run("srun", "--cpus-per-task=1", "--nodelist=node1", *shown).ok().output
    one = container(*shown).started(env={"SCRUN_CPUS_PER_TASK": "1", "SCRUN_JOB_NODELIST": "node1"})
    assert one.ended() == 0
    assert one.output == expected
    assert expected != alice.run(*shown).ok().output


def test_container_exceeding_its_jobs_memory_is_killed(container: MakeContainer) -> None:
    grows = "x=a; while :; do x=$x$x; done"
    one = container("sh", "-c", grows).started(env={"SCRUN_MEM_PER_NODE": "60"})
    assert one.ended() == 137
    assert b"oom" in one.errors.lower() or b"out of memory" in one.errors.lower()


def test_the_same_for_an_engine(docker: Engine) -> None:
    done = docker.run("sh", "-c", "x=a; while :; do x=$x$x; done", options=("--rm", "--memory=60m"))
    assert done.status == 137


def test_exec_is_confined_and_ends_with_the_container(container: MakeContainer) -> None:
    one = container("sleep", "1000").started(env={"SCRUN_CPUS_PER_TASK": "1"})
    done = one.call("exec", "grep", "Cpus_allowed_list", "/proc/self/status").ok()
    ours = one.call("exec", "grep", "Cpus_allowed_list", "/proc/1/status").ok()
    assert done.stdout == ours.stdout
    job = one.record["job"]
    one.call("kill", "KILL").ok()
    assert one.ended() == 137
    wait_until(lambda: job not in slurm.jobs(), f"job {job} has gone")


def test_events_say_what_the_job_may_use(container: MakeContainer) -> None:
    one = container("sleep", "1000").started(env={"SCRUN_MEM_PER_NODE": "60"})
    data = json.loads(one.call("events", options=["--stats"]).ok().stdout)["data"]
    assert data["memory"]["usage"]["limit"] == 60 << 20
