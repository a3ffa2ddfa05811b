"""SLURM_* variables: a container has those that salloc and srun give to a program, and hooks those of salloc."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from . import slurm
from .conftest import MakeContainer
from .rootfs import Config
from .users import User

pytestmark = pytest.mark.slurm_only("its containers know of no job")

# Variables whose values belong to the one job or step, or to its time.
OF_ONE_JOB = {
    *("SLURM_JOB_ID", "SLURM_JOBID", "SLURM_JOB_SLUID", "SLURM_JOB_NAME", "SLURM_JOB_START_TIME", "SLURM_JOB_END_TIME"),
    *("SLURM_SRUN_COMM_PORT", "SLURM_STEP_LAUNCHER_PORT", "SLURM_TASK_PID", "SLURM_STEPID", "SLURM_STEP_ID"),
    *("CUDA_VISIBLE_DEVICES", "SLURM_STEP_GPUS"),
    "SLURM_DISTRIBUTION",  # cyclic for one task, block where srun works out by itself that it is one
}
# What a container has besides, and what it hasn't; docs/configuration.md says why.
MORE = {"SLURM_CONTAINER", "SLURM_CONTAINER_ID", "SLURM_GRES_FLAGS", "SLURM_OPEN_MODE"}
LESS = {"SLURM_CONF", "SRUN_DEBUG"}


def variables(lines: str) -> dict[str, str]:
    """Those of Slurm, of ``env``'s lines."""
    found = dict(line.partition("=")[::2] for line in lines.splitlines() if "=" in line)
    return {name: value for name, value in found.items() if name.startswith(("SLURM", "SRUN", "CUDA"))}


def of_salloc(alice: User, *options: str) -> tuple[dict[str, str], dict[str, str]]:
    """What salloc's shell has, and what a program has that srun starts in it (its first task)."""
    done = alice.run(
        "salloc", "--quiet", "--nodelist=node1", *options, "sh", "-c", "env; echo ---; srun -l /usr/bin/env"
    )
    shell, _, program = done.ok().stdout.partition("---\n")
    first = [line[3:] for line in program.splitlines() if line.startswith("0: ")]
    return variables(shell), variables("\n".join(first))


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ({}, []),
        ({"MEM_PER_NODE": "100M", "CPUS_PER_TASK": "2"}, ["--mem=100M", "--cpus-per-task=2"]),
        ({"MEM_PER_CPU": "60"}, ["--mem-per-cpu=60"]),
        ({"GRES": "gpu:2", "TIMELIMIT": "5"}, ["--gres=gpu:2", "--time=5"]),
        ({"GPUS_PER_NODE": "1", "GPU_BIND": "single:1"}, ["--gpus-per-node=1", "--gpu-bind=single:1"]),
        ({"GPUS": "2", "CPUS_PER_GPU": "2", "MEM_PER_GPU": "50"}, ["--gpus=2", "--cpus-per-gpu=2", "--mem-per-gpu=50"]),
        ({"NTASKS": "2", "OVERCOMMIT": "1"}, ["--ntasks=2", "--overcommit"]),
        ({"NTASKS": "2", "GPUS_PER_TASK": "1"}, ["--ntasks=2", "--gpus-per-task=1"]),
        ({"NTASKS": "2", "TRES_PER_TASK": "cpu=2,gres/gpu=1"}, ["--ntasks=2", "--tres-per-task=cpu=2,gres/gpu=1"]),
        ({"NTASKS_PER_TRES": "1", "GPUS": "2"}, ["--ntasks-per-tres=1", "--gpus=2"]),
        ({"NTASKS_PER_GPU": "1", "GPUS": "2"}, ["--ntasks-per-gpu=1", "--gpus=2"]),
        ({"GPUS_PER_SOCKET": "1", "NSOCKETS_PER_NODE": "1"}, ["--gpus-per-socket=1", "--sockets-per-node=1"]),
        ({"GRES_FLAGS": "enforce-binding", "GRES": "gpu:1"}, ["--gres-flags=enforce-binding", "--gres=gpu:1"]),
        ({"TRES_BIND": "gres/gpu:single:1", "GRES": "gpu:1"}, ["--tres-bind=gres/gpu:single:1", "--gres=gpu:1"]),
        ({"MEM_BIND": "verbose,local"}, ["--mem-bind=verbose,local"]),
        ({"OPEN_MODE": "append", "DELAY_BOOT": "5"}, ["--delay-boot=5"]),
        ({"JOB_NUM_NODES": "1", "NTASKS_PER_NODE": "2"}, ["--nodes=1", "--ntasks-per-node=2"]),
        ({"HINT": "nomultithread", "MEM_BIND": "local"}, ["--hint=nomultithread", "--mem-bind=local"]),
        (
            {"DISTRIBUTION": "cyclic:block", "THREADS_PER_CORE": "1"},
            ["--distribution=cyclic:block", "--threads-per-core=1"],
        ),
        ({"NTASKS_PER_CORE": "1", "PROFILE": "task"}, ["--ntasks-per-core=1", "--profile=task"]),
        ({"ACCTG_FREQ": "task=10", "NETWORK": "x"}, ["--acctg-freq=task=10", "--network=x"]),
        ({"CPU_FREQ_REQ": "low", "GPU_FREQ": "low"}, ["--cpu-freq=low", "--gpu-freq=low"]),
        (
            {"EXCLUSIVE": "", "PARTITION": "short", "SIGNAL": "USR1@20"},
            ["--exclusive", "--partition=short", "--signal=USR1@20"],
        ),
    ],
    ids=str,
)
def test_container_has_salloc_and_srun_variables(
    container: MakeContainer, alice: User, asked: dict[str, str], options: list[str]
) -> None:
    one = container("env", env=["SCRUN_LABELIO=1"])
    one.started(env={"SCRUN_JOB_NODELIST": "node1", **{f"SCRUN_{name}": value for name, value in asked.items()}})
    assert one.ended() == 0
    lines = [line[3:] for line in one.output.decode().splitlines() if line.startswith("0: ")]
    found = variables("\n".join(lines))
    shell, program = of_salloc(alice, *options)
    assert shell.keys() <= program.keys()
    assert found.keys() - MORE == program.keys() - LESS
    same = found.keys() & program.keys() - OF_ONE_JOB
    assert {name: found[name] for name in same} == {name: program[name] for name in same}


def test_queued_job_gives_the_same_variables(container: MakeContainer, alice: User, held_node: int) -> None:
    asked = {"SCRUN_JOB_NODELIST": "node2", "SCRUN_NTASKS": "2", "SCRUN_MEM_PER_NODE": "100", "SCRUN_LABELIO": "1"}
    one = container("env").created(env={**asked, "SCRUN_CREATE_TIMEOUT": "1"})
    one.call("start").ok()
    slurm.release(held_node)
    assert one.ended(60) == 0
    lines = [line[3:] for line in one.output.decode().splitlines() if line.startswith("0: ")]
    _, program = of_salloc(alice, "--ntasks=2", "--mem=100")
    assert variables("\n".join(lines)).keys() - MORE == program.keys() - LESS


OUT = """
function write(job_env)
    local file = io.open("{directory}/out", "w")
    for _, line in ipairs(job_env) do file:write(line, "\\n") end
    file:write("---\\n", select(2, slurm.allocator_command("env")))
    file:write("---\\n", select(2, slurm.remote_command("env")))
    file:close()
end
function slurm_scrun_stage_in(id, bundle, spool_dir, config_file, job_id, user_id, group_id, job_env)
    write(job_env)
    return slurm.SUCCESS
end
function slurm_scrun_stage_out(id, bundle, orig_bundle, root_path, orig_root_path, spool_dir, config_file, jobid)
    return slurm.SUCCESS
end
return slurm.SUCCESS
"""


@pytest.mark.parametrize(
    ("asked", "options"),
    [({}, []), ({"MEM_PER_NODE": "100M", "CPUS_PER_TASK": "2", "NTASKS": "2"}, ["--mem=100M", "-c2", "-n2"])],
    ids=str,
)
def test_hooks_have_salloc_variables_and_scruns_own(
    container: MakeContainer,
    alice: User,
    directory: Path,
    slurm_conf: Callable[..., Path],
    asked: dict[str, str],
    options: list[str],
) -> None:
    conf = slurm_conf()
    alice.write(conf.parent / "scrun.lua", OUT.replace("{directory}", str(directory)))

    def annotated(config: Config) -> None:
        config["annotations"] = {"colour": "red"}

    one = container("true", change=annotated)
    env = {"SCRUN_JOB_NODELIST": "node1", **{f"SCRUN_{name}": value for name, value in asked.items()}}
    log = directory / "log"
    one.created(global_options=["-f", str(conf), "--log", str(log), "--log-format", "json"], env=env)
    job_env, command, remote = (
        dict(line.partition("=")[::2] for line in part.splitlines())
        for part in (directory / "out").read_text().split("---\n")
    )
    shell, _ = of_salloc(alice, *options)
    slurms = variables("\n".join(f"{name}={value}" for name, value in job_env.items()))
    assert slurms.keys() == shell.keys() - LESS
    same = slurms.keys() - OF_ONE_JOB
    assert {name: slurms[name] for name in same} == {name: shell[name] for name in same}
    record = one.record
    expected = {
        "SCRUN_OCI_VERSION": "1.0.2",
        "SCRUN_CONTAINER_ID": one.id,
        "SCRUN_PID": str(record["pid"]),
        "SCRUN_BUNDLE": str(one.bundle),
        "SCRUN_SUBMISSION_BUNDLE": str(one.bundle),
        "SCRUN_ANNOTATION_colour": "red",
        "SCRUN_PID_FILE": str(one.pid_file),
        "SCRUN_SOCKET": str(one.path / "anchor.sock"),
        "SCRUN_SPOOL_DIR": str(one.path / "spool"),
        "SCRUN_SUBMISSION_CONFIG_FILE": str(one.bundle / "config.json"),
        "SCRUN_USER": "alice",
        "SCRUN_USER_ID": str(alice.uid),
        "SCRUN_GROUP": "alice",
        "SCRUN_GROUP_ID": str(alice.gid),
        "SCRUN_ROOT": str(one.path.parent),
        "SCRUN_ROOTFS_PATH": str(one.bundle / "rootfs"),
        "SCRUN_SUBMISSION_ROOTFS_PATH": str(one.bundle / "rootfs"),
        "SCRUN_LOG_FILE": str(log),
        "SCRUN_LOG_FORMAT": "json",
    }
    for place in (job_env, command, remote):
        assert {name: place.get(name) for name in expected} == expected
    assert remote["SLURM_JOB_ID"] == job_env["SLURM_JOB_ID"] == str(record["job"])


def test_no_value_of_the_environment_is_logged(container: MakeContainer, directory: Path, alice: User) -> None:
    one = container("true", env=["PASSWORD=of-the-container"])
    options = ["--log", str(directory / "log"), "--debug"]
    env = {"TOKEN": "of-the-caller", "SCRUN_TOKN": "of-the-caller", "SCRUN_DEBUG": "debug2"}
    one.started(global_options=options, env=env)
    assert one.ended() == 0
    said = (directory / "log").read_text() + (one.path / "anchor.log").read_text()
    assert "srun: " in said
    assert "of-the-" not in said
