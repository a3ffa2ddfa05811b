"""The environment of a further process: all that its container's program was given, unless exec says otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import MakeContainer
from .engines import Engine
from .oci import Container
from .test_exec import execute
from .users import User
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("there is no task of slurmstepd's")

TELL = "cat /proc/self/environ >/environ; echo ready; exec sleep 1000"
OF_CAT = {"PWD", "OLDPWD", "SHLVL", "_"}  # set by a shell
AWKWARD = """a"b\\c\\n $HOME `id` $(id) 'x' END\nsecond: line],\t\u00e9"""


def parsed(environ: bytes) -> dict[str, str]:
    """A /proc/PID/environ."""
    entries = environ.decode().rstrip("\0").split("\0")
    return {name: value for name, _, value in (entry.partition("=") for entry in entries) if name not in OF_CAT}


def told(one: Container) -> dict[str, str]:
    """What the container's program has."""
    one.wait_for_output(b"ready")
    return parsed((one.bundle / "rootfs/environ").read_bytes())


def environment_of_exec(one: Container, *options: str, **more: Any) -> dict[str, str]:
    """What a further process has."""
    return parsed(execute(one, "cat", "/proc/self/environ", options=options, **more).ok().output)


def test_it_is_the_programs_to_the_last_variable(container: MakeContainer) -> None:
    config = ["CUDA_VISIBLE_DEVICES=7", "SLURM_PROCID=99", f"AWKWARD={AWKWARD}", "EMPTY="]
    one = container("sh", "-c", TELL, env=config).started(env={"SCRUN_GPUS": "2"})
    program = told(one)
    assert program["CUDA_VISIBLE_DEVICES"] != "7"  # what slurmstepd gives counts, not what the config says
    assert program["AWKWARD"] == AWKWARD
    assert {"SLURM_STEP_ID", "SLURM_GPUS_ON_NODE", "SLURM_LOCALID", "TMPDIR"} <= {*program}
    assert environment_of_exec(one) == program


def test_what_a_task_prolog_exports_is_there_too(container: MakeContainer, alice: User, directory: Path) -> None:
    prolog = alice.write(directory / "prolog", "#!/bin/sh\necho export FROM_PROLOG=yes\n", 0o755)
    one = container("sh", "-c", TELL).started(env={"SCRUN_TASK_PROLOG": str(prolog)})
    assert told(one)["FROM_PROLOG"] == environment_of_exec(one)["FROM_PROLOG"] == "yes"


def test_what_exec_says_wins(container: MakeContainer) -> None:
    one = container("sh", "-c", TELL, env=["OWN=config"]).started(env={"SCRUN_GPUS": "2"})
    options = ("-e", "CUDA_VISIBLE_DEVICES=1", "-e", "SLURM_JOB_ID=5", "-e", "SLURMD_NODENAME=x", "-e", "OWN=exec")
    said = {"CUDA_VISIBLE_DEVICES": "1", "SLURM_JOB_ID": "5", "SLURMD_NODENAME": "x", "OWN": "exec"}
    assert environment_of_exec(one, *options) == told(one) | said


def test_program_changing_its_environment_does_not_affect_exec(container: MakeContainer) -> None:
    one = container("sh", "-c", "exec env -i sh -c 'echo ready; exec sleep 1000'").started()
    one.wait_for_output(b"ready")
    assert environment_of_exec(one)["SLURM_PROCID"] == "0"


def test_a_process_object_names_its_variables(container: MakeContainer, directory: Path) -> None:
    one = container("sh", "-c", TELL, env=["OWN=yes"]).started()
    program = told(one)
    process = '{"args": ["/bin/cat", "/proc/self/environ"], "cwd": "/", "env": ["A=b"], "user": {"uid": 0, "gid": 0}}'
    (directory / "process.json").write_text(process)
    found = parsed(execute(one, options=("--process", str(directory / "process.json"))).ok().output)
    assert found == {name: program[name] for name in program if name not in ("OWN", "PATH", "TERM")} | {"A": "b"}


def test_on_each_node_it_is_that_nodes_task(container: MakeContainer) -> None:
    variables = {"SCRUN_NTASKS": "2", "SCRUN_JOB_NUM_NODES": "2"}
    one = container("sh", "-c", "echo ready; exec sleep 1000").started(env=variables)
    one.wait_for_output(b"ready\nready")
    names = ("SLURMD_NODENAME", "SLURM_NODEID", "SLURM_PROCID", "SLURM_LOCALID")
    for number, node in enumerate(("node1", "node2")):
        found = environment_of_exec(one, "--node", node)
        assert [found[name] for name in names] == [node, str(number), str(number), "0"]


def test_it_is_no_rank_of_the_mpi_program(container: MakeContainer) -> None:
    one = container("sh", "-c", TELL).started(env={"SCRUN_MPI_TYPE": "pmi2"})
    program = told(one)
    assert "PMI_RANK" in program
    assert environment_of_exec(one) == {name: value for name, value in program.items() if not name.startswith("PMI")}


def test_engine_exec_sees_the_programs_gpus(engine: Engine) -> None:
    script = "echo $CUDA_VISIBLE_DEVICES $SLURM_GPUS_ON_NODE $SLURM_PROCID ready"
    options = ("-e", "SCRUN_GPUS=2", "-e", "CUDA_VISIBLE_DEVICES=7")
    name = engine.detached("sh", "-c", f"{script}; exec sleep 1000", options=options, ready="ready")
    said = engine.call("logs", name).ok().stdout
    assert "7" not in said
    assert engine.call("exec", name, "sh", "-c", script).ok().stdout == said
    assert engine.call("exec", "-e", "CUDA_VISIBLE_DEVICES=1", name, "sh", "-c", script).ok().stdout == "1 2 0 ready\n"


def test_a_health_check_has_it_too(docker: Engine) -> None:
    options = ("--health-cmd", 'test "$SLURM_PROCID" = 0', "--health-interval", "1s", "--health-retries", "1")
    name = docker.detached("sh", "-c", "echo ready; exec sleep 1000", options=options, ready="ready")
    wait_until(lambda: docker.inspect(name)["State"]["Health"]["Status"] == "healthy", "the check succeeds")
