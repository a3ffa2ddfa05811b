"""SLURM_* variables of a job: salloc's additions, and what srun must not see together."""

from __future__ import annotations

import pytest

from scrun.slurm import job_environment


def for_step(
    lines: list[str], *, inherited: dict[str, str] | None = None, step: dict[str, str] | None = None
) -> set[str]:
    return set(
        job_environment.for_step(lines, cluster="c", directory="/work", inherited=inherited or {}, step=step or {})
    )


def test_what_salloc_adds_is_there() -> None:
    found = for_step(["SLURM_JOB_ID=7"])
    assert {"SLURM_JOB_ID=7", "SLURM_CLUSTER_NAME=c", "SLURM_SUBMIT_DIR=/work"} < found
    assert any(line.startswith("SLURM_SUBMIT_HOST=") and len(line) > len("SLURM_SUBMIT_HOST=") for line in found)


def test_a_null_name_from_libslurm_is_left_out() -> None:
    assert for_step(["SLURM_JOB_ID=7", "SLURM_JOB_NAME=(null)"]) == for_step(["SLURM_JOB_ID=7"])


def test_variables_of_a_real_salloc_are_kept() -> None:
    assert for_step(["SLURM_JOB_ID=7"], inherited={"SLURM_JOB_ID": "7", "SLURM_X": "a=b"}) == {
        "SLURM_JOB_ID=7",
        "SLURM_X=a=b",
    }


def test_a_steps_memory_and_cpus_replace_the_jobs() -> None:
    lines = ["SLURM_MEM_PER_CPU=50", "SLURM_TRES_PER_TASK=cpu=2", "SLURM_CPUS_PER_TASK=2"]
    found = for_step(lines, step={"SLURM_MEM_PER_NODE": "1M", "SLURM_CPUS_PER_TASK": "1"})
    assert not {line.partition("=")[0] for line in found} & {"SLURM_MEM_PER_CPU", "SLURM_TRES_PER_TASK"}
    assert set(lines) < for_step(lines)


def test_no_step_variable_comes_from_the_caller() -> None:
    caller = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n", "SLURM_STEP_ID": "1", "SLURM_CPU_BIND": "x", "HOME": "/"}
    assert job_environment.of_allocation(caller, "7") == {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n"}


@pytest.mark.parametrize(
    ("names", "nodes", "expected"),
    [
        ({}, 1, 1),
        ({}, 3, 3),
        ({"SLURM_NTASKS": "4", "SLURM_JOB_NUM_NODES": "2"}, 2, 4),
        ({"SLURM_NPROCS": "4"}, 2, 4),
        ({"SLURM_CPUS_PER_TASK": "2", "SLURM_JOB_NUM_NODES": "1"}, 1, 1),
        ({"SLURM_JOB_NUM_NODES": "1-2"}, 4, 1),
        ({"SLURM_NTASKS_PER_NODE": "3"}, 2, 6),
    ],
)
def test_one_task_runs_on_each_node_by_default(names: dict[str, str], nodes: int, expected: int) -> None:
    assert job_environment.tasks(names, nodes) == expected
