"""The two environments: the container's, and the caller's, which asks Slurm for things."""

from __future__ import annotations

import pytest

from . import slurm
from .conftest import MakeContainer
from .oci import Container
from .waiting import wait_until

slurms_own = pytest.mark.slurm_only("there is no job")


def environment(one: Container) -> dict[str, str]:
    """What the container printed with ``env -0``-like clarity: one variable a line."""
    assert one.ended() == 0, one.errors
    return dict(line.partition("=")[::2] for line in one.output.decode().splitlines())


def test_a_container_has_the_environment_of_its_config(container: MakeContainer) -> None:
    one = container("env", env=["PLAIN=value", "EMPTY=", "EQUALS=a=b", "SPACES= a  b ", "UNICODE=ü"])
    found = environment(one.started())
    expected = {
        "PLAIN": "value",
        "EMPTY": "",
        "EQUALS": "a=b",
        "SPACES": " a  b ",
        "UNICODE": "ü",
        "PATH": "/sbin:/bin",
    }
    assert {name: found.get(name) for name in expected} == expected


def test_nothing_of_the_callers_environment_reaches_the_container(container: MakeContainer) -> None:
    one = container("env").started(env={"SECRET": "1", "LD_PRELOAD": "", "HOME": "/home/alice"})
    found = environment(one)
    assert "SECRET" not in found
    assert "XDG_RUNTIME_DIR" not in found
    assert found.get("PATH") == "/sbin:/bin"
    assert "/home/alice" not in found.values()


@slurms_own
def test_a_container_knows_its_job(container: MakeContainer) -> None:
    one = container("env").created()
    job = one.record["job"]
    one.call("start").ok()
    found = environment(one)
    assert found["SLURM_JOB_ID"] == str(job)
    assert found["SLURM_JOB_NODELIST"] in ("node1", "node2")
    assert found["SLURM_JOB_PARTITION"] == "debug"
    assert found["SLURM_JOB_USER"] == "alice"


@slurms_own
def test_the_containers_own_variables_win_over_slurms(container: MakeContainer) -> None:
    one = container("env", env=["SLURM_CLUSTER_NAME=mine", "HOSTNAME=mine"])
    found = environment(one.started())
    assert found["HOSTNAME"] == "mine"


@slurms_own
@pytest.mark.parametrize(
    ("variable", "value", "field", "shown"),
    [
        ("SCRUN_PARTITION", "short", "Partition", "short"),
        ("SCRUN_JOB_NAME", "my job", "JobName", "my"),
        ("SCRUN_TIMELIMIT", "2:00", "TimeLimit", "00:02:00"),
        ("SCRUN_TIMELIMIT", "1-2:03:04", "TimeLimit", "1-02:04:00"),  # whole minutes, up
        ("SCRUN_JOB_NODELIST", "node2", "NodeList", "node2"),
        ("SCRUN_JOB_NUM_NODES", "2", "NumNodes", "2"),
        ("SCRUN_CPUS_PER_TASK", "3", "CPUs/Task", "3"),
        ("SCRUN_NTASKS", "2", "NumTasks", "2"),
        ("SCRUN_MEM_PER_NODE", "100M", "MinMemoryNode", "100M"),
        ("SCRUN_MEM_PER_CPU", "70M", "MinMemoryCPU", "70M"),
        ("SCRUN_GRES", "gpu:2", "TresPerNode", "gres/gpu:2"),
        ("SCRUN_GPUS_PER_NODE", "1", "TresPerNode", "gres/gpu:1"),
        ("SCRUN_EXCLUSIVE", "", "OverSubscribe", "NO"),
        ("SCRUN_WORKING_DIR", "/tmp", "WorkDir", "/tmp"),
    ],
)
def test_a_variable_asks_slurm_for_it(
    container: MakeContainer, variable: str, value: str, field: str, shown: str
) -> None:
    one = container("true").created(env={variable: value})
    assert slurm.job_fields(one.record["job"])[field] == shown


@slurms_own
def test_what_the_container_asks_for_wins_over_the_caller(container: MakeContainer) -> None:
    one = container("true", env=["SCRUN_PARTITION=short"]).created(
        env={"SCRUN_PARTITION": "debug", "SCRUN_JOB_NAME": "hers"}
    )
    fields = slurm.job_fields(one.record["job"])
    assert (fields["Partition"], fields["JobName"]) == ("short", "hers")


@slurms_own
def test_a_gpu_that_was_asked_for_is_named_to_the_container(container: MakeContainer) -> None:
    found = environment(container("env", env=["SCRUN_GRES=gpu:1"]).started())
    assert found["CUDA_VISIBLE_DEVICES"] in ("0", "1", "2", "3")


@slurms_own
@pytest.mark.parametrize("whose", ["caller", "container"])
def test_an_existing_allocation_is_used_and_not_released(container: MakeContainer, whose: str) -> None:
    user = container("true").runtime.user
    job = slurm.allocate(user)
    before = slurm.known_jobs()
    try:
        for status in (0, 7):
            script = ("sh", "-c", f"echo $SLURM_JOB_ID; exit {status}")
            if whose == "caller":
                one = container(*script).started(env={"SLURM_JOB_ID": str(job)})
            else:
                one = container(*script, env=[f"SLURM_JOB_ID={job}"]).started()
            assert one.ended() == status
            assert one.output == f"{job}\n".encode()
            one.call("delete").ok()
            assert slurm.job_fields(job)["JobState"] == "RUNNING"
        assert slurm.known_jobs() == before
    finally:
        slurm.release(job)


@slurms_own
def test_a_running_container_in_an_existing_allocation_ends_alone(container: MakeContainer) -> None:
    one = container("sh", "-c", "echo ready; sleep 60")
    job = slurm.allocate(one.runtime.user)
    try:
        one.started(env={"SLURM_JOB_ID": str(job)})
        one.wait_for_output(b"ready\n")
        one.call("kill", "KILL").ok()
        assert one.ended(timeout=10) == 137
        assert slurm.job_fields(job)["JobState"] == "RUNNING"
        wait_until(lambda: not slurm.steps(job), "its step has gone")
    finally:
        slurm.release(job)


@slurms_own
def test_an_allocation_inherited_from_salloc_does_not_confuse_srun(container: MakeContainer) -> None:
    one = container("sh", "-c", "echo $SLURM_JOB_ID $SLURM_NTASKS")
    create = " ".join(one.runtime.argv("create", "--bundle", str(one.bundle), one.id))
    script = f"{create} >{one.directory}/stdout && scrun start {one.id} && echo $SLURM_JOB_ID && sleep 3"
    done = one.runtime.user.run("salloc", "--quiet", "--ntasks=1", "sh", "-c", script).ok()
    one.wait_for("stopped")
    assert one.output.split() == [done.output.strip(), b"1"]
