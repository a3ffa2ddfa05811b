"""Containers in a job that is there already: steps of it, which share it, and end without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from . import slurm
from .conftest import MakeContainer
from .engines import Engine
from .users import User
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("it knows of no jobs")

Allocate = Callable[..., int]


@pytest.fixture
def allocate() -> Iterator[Allocate]:
    """Gets a job from salloc: ``allocate(alice, "--ntasks=2")``; it is given back after the test."""
    made: list[int] = []

    def make(user: User, *options: str) -> int:
        made.append(slurm.allocate(user, *options))
        return made[-1]

    yield make
    for job in made:
        if job in slurm.jobs():
            slurm.release(job)


def is_running(job: int) -> bool:
    return slurm.job_fields(job)["JobState"] == "RUNNING"


@pytest.mark.parametrize("whose", ["caller", "container"])
def test_it_is_used_and_not_released(container: MakeContainer, alice: User, allocate: Allocate, whose: str) -> None:
    job = allocate(alice)
    before = slurm.known_jobs()
    for status in (0, 7):
        script = ("sh", "-c", f"echo $SLURM_JOB_ID; exit {status}")
        if whose == "caller":
            one = container(*script).started(env={"SLURM_JOB_ID": str(job)})
        else:
            one = container(*script, env=[f"SLURM_JOB_ID={job}"]).started()
        assert one.ended() == status
        assert one.output == f"{job}\n".encode()
        one.call("delete").ok()
        assert is_running(job)
    assert slurm.known_jobs() <= before


def test_several_containers_share_the_job_at_once(container: MakeContainer, alice: User, allocate: Allocate) -> None:
    job = allocate(alice, "--cpus-per-task=2", "--mem=200", "--gres=gpu:1")
    script = 'echo "$SLURM_STEP_ID $SLURM_CPUS_ON_NODE $CUDA_VISIBLE_DEVICES"; sleep 1000'
    several = [container("sh", "-c", script).started(env={"SLURM_JOB_ID": str(job)}) for _ in range(3)]
    for one in several:
        one.wait_for_output(b"\n")
    said = [one.output.split() for one in several]
    assert sorted(words[0] for words in said) == [b"0", b"1", b"2"]
    assert {tuple(words[1:]) for words in said} == {(b"2", said[0][2])}
    assert len(slurm.steps(job)) >= 3


def test_exact_steps_have_what_they_ask_for(container: MakeContainer, alice: User, allocate: Allocate) -> None:
    job = allocate(alice, "--cpus-per-task=4", "--mem=200")
    asked = {"SLURM_JOB_ID": str(job), "SCRUN_EXACT": "1", "SCRUN_CPUS_PER_TASK": "2", "SCRUN_MEM_PER_NODE": "50M"}
    script = "echo $SLURM_CPUS_ON_NODE; sleep 1000"
    for one in [container("sh", "-c", script).started(env=asked) for _ in range(2)]:
        one.wait_for_output(b"2\n")
    assert len(slurm.steps(job)) >= 2


@pytest.mark.parametrize("end", ["kill", "anchor", "delete"])
def test_what_ends_a_container_ends_its_step_alone(
    container: MakeContainer, alice: User, allocate: Allocate, end: str
) -> None:
    job = allocate(alice)
    one, other = (container("sh", "-c", "echo ready; sleep 1000") for _ in range(2))
    for each in (one, other):
        each.started(env={"SLURM_JOB_ID": str(job)}).wait_for_output(b"ready\n")
    wait_until(lambda: len(slurm.steps(job)) == 2, "there are two steps, those of the probes have gone")
    if end == "kill":
        one.call("kill", "KILL").ok()
    elif end == "anchor":
        one.runtime.user.run("kill", "-9", str(one.record["anchor"])).ok()
    else:
        one.call("delete", options=["--force"]).ok()
    if end != "delete":
        assert one.ended() == 137
    wait_until(lambda: len(slurm.steps(job)) == 1, "one of two steps has gone")
    assert other.status() == "running"
    assert is_running(job)


def test_a_shell_of_sallocs_gives_its_own_variables(container: MakeContainer, alice: User) -> None:
    one = container("sh", "-c", "echo $SLURM_JOB_ID $SLURM_NTASKS $SLURM_SUBMIT_DIR $SLURM_JOB_NAME")
    create = " ".join(one.runtime.argv("create", "--bundle", str(one.bundle), one.id))
    script = f"{create} >{one.directory}/stdout && scrun start {one.id} && echo $SLURM_JOB_ID && "
    script += f"until scrun state {one.id} | grep -q stopped; do sleep 0.1; done"
    options = ["--ntasks=2", "--job-name=hers", "--cpus-per-task=2"]
    done = alice.run("salloc", "--quiet", *options, "sh", "-c", script).ok()
    job = done.output.strip().decode()
    assert one.output.decode().splitlines() == [f"{job} 2 /home/alice hers"] * 2


def test_new_job_variables_are_reported_as_without_effect(
    container: MakeContainer, alice: User, allocate: Allocate
) -> None:
    job = allocate(alice)
    asked = {"SLURM_JOB_ID": str(job), "SCRUN_PARTITION": "short", "SCRUN_STDERR_DEBUG": "info"}
    done = container("true").create(env=asked).ok()
    assert done.stderr == "scrun: SCRUN_PARTITION has no effect in a job that is there already\n"
    assert slurm.job_fields(job)["Partition"] == "debug"


def test_a_job_that_has_ended_is_an_error(container: MakeContainer, alice: User, allocate: Allocate) -> None:
    job = allocate(alice)
    slurm.release(job)
    done = container("true").create(env={"SLURM_JOB_ID": str(job)})
    assert done.status == 1
    assert done.stderr == f"scrun: job {job} ended before the container could run: it was cancelled\n"


def test_a_job_that_never_was_is_an_error(container: MakeContainer) -> None:
    done = container("true").create(env={"SLURM_JOB_ID": "999999"})
    assert done.status == 1
    assert done.stderr == "scrun: job 999999 can't be looked up: Invalid job id specified\n"


@pytest.mark.parametrize("caller", ["alice", "root"])
def test_another_users_job_is_an_error(container: MakeContainer, bob: User, allocate: Allocate, caller: str) -> None:
    job = allocate(bob)
    done = container("true", user=User(caller)).create(env={"SLURM_JOB_ID": str(job)})
    assert done.status == 1
    assert done.stderr == f"scrun: job {job} can't be used: it is bob's: name one of yours in SLURM_JOB_ID\n"
    assert is_running(job)


def test_queued_job_is_waited_for_and_kept(container: MakeContainer, alice: User, held_node: int) -> None:
    alice.run("sbatch", "--nodelist=node2", "--job-name=of-the-tests", "--wrap=sleep 1000", "--output=/dev/null").ok()
    (job,) = slurm.jobs(alice) - {held_node}
    try:
        one = container("sh", "-c", "echo $SLURM_JOB_ID $SLURMD_NODENAME")
        one.created(env={"SLURM_JOB_ID": str(job), "SCRUN_CREATE_TIMEOUT": "1"}).call("start").ok()
        given_up = container("true").created(env={"SLURM_JOB_ID": str(job), "SCRUN_CREATE_TIMEOUT": "1"})
        given_up.call("delete").ok()
        assert job in slurm.jobs(alice)
        slurm.release(held_node)
        assert one.ended(60) == 0
        assert one.output == f"{job} node2\n".encode()
        assert is_running(job)
    finally:
        slurm.release(job)


def test_an_engines_containers_are_steps_of_it(main_engine: Engine, allocate: Allocate) -> None:
    job = allocate(main_engine.user, "--mem=100")
    done = main_engine.run("sh", "-c", "echo $SLURM_JOB_ID", options=("-e", f"SLURM_JOB_ID={job}")).ok()
    assert done.output.strip() == str(job).encode()
    assert is_running(job)


def test_sharing_a_steps_namespace_makes_another_step(main_engine: Engine, allocate: Allocate) -> None:
    job = allocate(main_engine.user, "--mem=100")
    in_it = ("-e", f"SLURM_JOB_ID={job}")
    other = main_engine.detached("sh", "-c", "echo up; sleep 600", options=in_it, ready="up")
    done = main_engine.run("sh", "-c", "echo $SLURM_JOB_ID", options=("--rm", f"--network=container:{other}")).ok()
    assert done.output.strip() == str(job).encode()
    assert is_running(job)


def test_container_with_some_cpus_runs_once(container: MakeContainer, alice: User, allocate: Allocate) -> None:
    job = allocate(alice, "--cpus-per-task=4")
    one = container("echo", "once").started(env={"SLURM_JOB_ID": str(job), "SCRUN_CPUS_PER_TASK": "2"})
    assert one.ended() == 0
    assert one.output == b"once\n"
