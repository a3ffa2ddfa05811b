"""docker's and podman's own words, and annotations, become the job's request; the container has what the job got."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import dockerd, slurm
from .conftest import RUNTIME, MakeContainer
from .engines import Engine
from .rootfs import Config
from .users import User

pytestmark = pytest.mark.slurm_only("it asks no scheduler for anything")


def _node(name: str, minor: int) -> dict[str, object]:
    return {"path": f"/dev/{name}", "type": "c", "major": 195, "minor": minor}


SHOW = ("sh", "-c", "echo $SLURM_JOB_ID $SLURM_CPUS_ON_NODE ${CUDA_VISIBLE_DEVICES:-none}")


def job_of(output: bytes) -> dict[str, str]:
    """What Slurm shows of the job that the container ran in."""
    return slurm.job_fields(int(output.split()[0]))


@pytest.mark.parametrize(
    ("options", "field", "shown"),
    [
        (("--cpus=2",), "CPUs/Task", "2"),
        (("--cpus=1.5",), "CPUs/Task", "2"),
        (("--cpu-period=50000", "--cpu-quota=150000"), "CPUs/Task", "3"),
        (("--cpuset-cpus=0-1",), "CPUs/Task", "2"),
        (("--memory=100m",), "MinMemoryNode", "100M"),
        (("--memory=100m", "-e", "SCRUN_MEM_PER_CPU=60"), "MinMemoryCPU", "60M"),
        (("--cpus=2", "-e", "SCRUN_CPUS_PER_TASK=3"), "CPUs/Task", "3"),
        (("--cpus=2", "-e", "SCRUN_RESOURCES=ignore"), "CPUs/Task", "1"),
        (("--cpus=2", "--annotation=slurm.resources=ignore"), "CPUs/Task", "1"),
    ],
    ids=str,
)
def test_podmans_limits_are_asked_of_slurm(podman: Engine, options: tuple[str, ...], field: str, shown: str) -> None:
    done = podman.run(*SHOW, options=options).ok()
    assert job_of(done.output)[field] == shown


def test_several_tasks_have_a_limit_each(podman: Engine) -> None:
    done = podman.run(*SHOW, options=("--cpus=2", "--memory=100m", "-e", "SCRUN_NTASKS=2")).ok()
    assert len(done.output.splitlines()) == 2
    fields = job_of(done.output)
    assert (fields["NumCPUs"], fields["MinMemoryCPU"]) == ("4", "50M")


@pytest.mark.parametrize(
    ("annotation", "field", "shown"),
    [
        ("slurm.partition=short", "Partition", "short"),
        ("slurm.time=3", "TimeLimit", "00:03:00"),
        ("slurm.time-limit=4", "TimeLimit", "00:04:00"),
        ("slurm.job_name=mine", "JobName", "mine"),
        ("slurm.mem=80M", "MinMemoryNode", "80M"),
    ],
)
def test_an_engines_annotations_are_asked_of_slurm(
    main_engine: Engine, annotation: str, field: str, shown: str
) -> None:
    options = (f"--annotation={annotation}", "-e", "SCRUN_PARTITION=debug", "-e", "SCRUN_TIMELIMIT=1")
    assert job_of(main_engine.run(*SHOW, options=options).ok().output)[field] == shown


def test_a_slip_in_an_annotation_is_remarked_upon(container: MakeContainer) -> None:
    def misspelt(config: Config) -> None:
        config["annotations"] = {"slurm.partiton": "short"}

    done = container("true", change=misspelt).create(env={"SCRUN_STDERR_DEBUG": "info"}).ok()
    assert "annotation slurm.partiton" in done.stderr
    assert "is it slurm.partition?" in done.stderr


CDI = {
    "cdiVersion": "0.6.0",
    "kind": "nvidia.com/gpu",
    "devices": [
        {"name": name, "containerEdits": {"deviceNodes": [_node(f"nvidia{n}", n) for n in numbers]}}
        for name, numbers in (("0", (0,)), ("1", (1,)), ("all", (0, 1)))
    ],
    "containerEdits": {
        "env": ["NVIDIA_VISIBLE_DEVICES=void"],
        "deviceNodes": [_node("nvidiactl", 255)],
        "hooks": [{"hookName": "createContainer", "path": "/usr/bin/true", "args": ["true"]}],
    },
}


@pytest.fixture(scope="module")
def _gpus_of_login() -> Iterator[None]:
    """A CDI specification, as nvidia-ctk writes one: podman and docker believe that the login node has two GPUs."""
    Path("/etc/cdi").mkdir()
    Path("/etc/cdi/nvidia.json").write_text(json.dumps(CDI))
    yield
    shutil.rmtree("/etc/cdi")


@pytest.mark.usefixtures("_gpus_of_login")
@pytest.mark.parametrize(("option", "number"), [("--device=nvidia.com/gpu=0", 1), ("--device=nvidia.com/gpu=all", 2)])
def test_gpus_of_cdi_specifications_are_requested_from_slurm(main_engine: Engine, option: str, number: int) -> None:
    if not main_engine.is_podman and not json.loads(main_engine.call("info", "--format={{json .CDISpecDirs}}").stdout):
        pytest.skip("this docker reads no CDI specifications (release 26 does as an experiment only)")
    script = "echo $SLURM_JOB_ID; echo $CUDA_VISIBLE_DEVICES; ls /dev/ | grep nvidia"
    job, visible, *devices = main_engine.run("sh", "-c", script, options=(option,)).ok().output.decode().split()
    assert slurm.job_fields(int(job))["TresPerNode"] == f"gres/gpu:{number}"
    given = visible.split(",")
    assert len(given) == number
    assert devices == sorted(["nvidiactl", *(f"nvidia{index}" for index in given)])


@pytest.mark.usefixtures("_gpus_of_login")
def test_a_container_has_its_jobs_gpus(podman: Engine, alice: User) -> None:
    others = slurm.allocate(alice, "--nodelist=node1", "--gres=gpu:a100:2")
    try:
        options = ("--device=nvidia.com/gpu=0", "-e", "SCRUN_JOB_NODELIST=node1")
        done = podman.run("sh", "-c", "ls /dev/ | grep nvidia[0-9]; echo $CUDA_VISIBLE_DEVICES", options=options).ok()
        assert done.output == b"nvidia2\n2\n"
    finally:
        slurm.release(others)


@pytest.mark.usefixtures("_gpus_of_login")
def test_a_variable_for_gpus_wins_over_podmans_word(podman: Engine) -> None:
    options = ("--gpus=all", "-e", "SCRUN_GRES=gpu:v100:1")
    assert job_of(podman.run(*SHOW, options=options).ok().output)["TresPerNode"] == "gres/gpu:v100:1"


@pytest.fixture(scope="module")
def docker_with_limits(root: User) -> Iterator[Engine]:
    """A dockerd that passes limits and ``--gpus`` on."""
    with dockerd.docker_with_limits(RUNTIME, root) as engine:
        yield engine


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (("--cpus=2",), {"CPUs/Task": "2", "NumCPUs": "2"}),
        (("--cpu-quota=150000",), {"CPUs/Task": "2"}),
        (("--memory=100m",), {"MinMemoryNode": "100M"}),
        (("--cpus=2", "--memory=1g", "-e", "SCRUN_RESOURCES=ignore"), {"CPUs/Task": "1", "MinMemoryCPU": "50M"}),
        (("--gpus=2",), {"TresPerNode": "gres/gpu:2"}),
        (("--gpus", '"device=0,1"'), {"TresPerNode": "gres/gpu:2"}),
        (("--gpus=all",), {"TresPerNode": "gres/gpu:1", "Exclusive": "NODE"}),
        (("--gpus=all", "-e", "SCRUN_GPUS=1"), {"TresPerJob": "gres/gpu:1", "Exclusive": "NO"}),
    ],
    ids=str,
)
def test_dockers_limits_are_asked_of_slurm(
    docker_with_limits: Engine, options: tuple[str, ...], shown: dict[str, str]
) -> None:
    done = docker_with_limits.run(*SHOW, options=options).ok()
    fields = job_of(done.output)
    assert {name: fields.get(name) for name in shown} == shown
    visible = done.stdout.split()[2]
    if options == ("--gpus=all",):
        assert visible == "0,1,2,3"
    elif "gpu" in fields.get("TresPerNode", ""):
        assert len(visible.split(",")) == 2
