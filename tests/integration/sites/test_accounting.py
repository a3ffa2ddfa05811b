"""slurmdbd with accounts and limits: what an administrator sees of containers, and what a user is told of limits."""

from __future__ import annotations

import subprocess

import pytest

from integration import slurm
from integration.conftest import MakeContainer
from integration.engines import Engine
from integration.test_bad_bundle import assert_refused
from integration.waiting import wait_until


def sacct(job: int, *fields: str, steps: bool = False) -> list[list[str]]:
    """The lines of sacct for the job, when slurmdbd has heard of the job's end."""
    only = [] if steps else ["--allocations"]
    names = ("end", *fields)

    def lines() -> list[list[str]]:
        command = ["sacct", "--noheader", "--parsable2", f"--jobs={job}", f"--format={','.join(names)}", *only]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        found = [line.split("|") for line in done.stdout.splitlines()]
        return [] if any(line[0] == "Unknown" for line in found) else found

    return [line[1:] for line in wait_until(lines, f"slurmdbd knows that job {job} has ended", 60)]


@pytest.fixture(params=["podman", "docker"])
def engine(request: pytest.FixtureRequest) -> Engine:
    one: Engine = request.getfixturevalue(request.param)
    return one


def test_an_administrator_sees_what_a_container_was(engine: Engine) -> None:
    name = engine.detached("sh", "-c", "sleep 0.1")
    container = engine.call("inspect", "--format={{.Id}}", name).ok().stdout.strip()
    job = max(slurm.known_jobs())
    engine.call("wait", name).ok()
    user = engine.user.name
    ((who, called, comment, line),) = sacct(job, "user", "jobname", "comment", "submitline")
    assert (who, called) == (user, "scrun")
    assert comment.startswith("localhost/busybox")
    assert comment.endswith(f": sh -c 'sleep 0.1' (container {container})")
    assert line.startswith("scrun ")
    assert line.endswith(container)


def test_our_own_steps_have_names_and_few_words(docker: Engine) -> None:
    name = docker.detached("sleep", "1000")
    job = max(slurm.known_jobs())
    docker.call("exec", name, "true").ok()
    docker.call("pause", name).ok()
    docker.call("unpause", name).ok()
    docker.call("kill", name).ok()
    docker.call("wait", name).ok()
    steps = sacct(job, "jobname", "submitline", steps=True)[1:]
    names = [step for step, _ in steps if step != "scrun-probe"]
    assert sorted(names) in (["scrun-stage", "sleep"], ["scrun-fetch", "scrun-stage", "sleep"])  # after ten seconds
    assert max(len(line) for _, line in steps) < 3000


def test_container_with_visible_files_is_one_step(container: MakeContainer) -> None:
    assert container("true").started().ended() == 0  # the nodes may be asked first
    one = container("true").started()
    job = one.record["job"]
    assert one.ended() == 0
    assert [step for (step,) in sacct(job, "jobname", steps=True)] == ["scrun", "true"]


def test_names_and_comments_can_be_given(container: MakeContainer) -> None:
    env = {"SCRUN_JOB_NAME": "mine", "SCRUN_COMMENT": "my own words", "SCRUN_ACCOUNT": "science", "SCRUN_QOS": "tiny"}
    one = container("true").started(env=env)
    job = one.record["job"]
    assert one.ended() == 0
    assert sacct(job, "jobname", "comment", "account", "qos") == [["mine", "my own words", "science", "tiny"]]


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"SCRUN_ACCOUNT": "locked"}, ("Invalid account", "account locked")),
        ({"SCRUN_QOS": "nosuch"}, ("Invalid qos", "qos nosuch")),
        ({"SCRUN_QOS": "tiny", "SCRUN_CPUS_PER_TASK": "3"}, ("QOSMaxCpuPerJobLimit", "qos tiny")),
        ({"SCRUN_QOS": "tiny", "SCRUN_TIMELIMIT": "20"}, ("QOSMaxWallDurationPerJobLimit", "qos tiny")),
        ({"SCRUN_PARTITION": "short", "SCRUN_TIMELIMIT": "20"}, ("time limit is invalid", "partition short")),
        ({"SCRUN_PARTITION": "debug,short", "SCRUN_TIMELIMIT": "20"}, ("time limit", "partition debug,short")),
    ],
    ids=["account", "no QOS", "CPUs", "time", "partition", "each partition"],
)
def test_what_a_limit_forbids_is_one_line(
    container: MakeContainer, env: dict[str, str], words: tuple[str, ...]
) -> None:
    one = container("true")
    assert_refused(one.create(env=env), *words)
    assert not one.path.exists()
