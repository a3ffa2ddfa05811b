"""A new job's description: what follows from what was asked for, as salloc has it."""

from __future__ import annotations

from typing import Any

import pytest

from scrun.slurm import job

NTASKS_SET, CPUS_SET = 1 << 14, 1 << 15


def fields(**variables: str) -> dict[str, Any]:
    request = job.request({f"SCRUN_{name}": value for name, value in variables.items()}, {}).job["request"]
    return request["fields"]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {"min_cpus": 1}),
        ({"NTASKS": "20"}, {"num_tasks": 20, "min_cpus": 20, "bitflags": NTASKS_SET}),
        ({"CPUS_PER_TASK": "3"}, {"cpus_per_task": 3, "min_cpus": 3, "bitflags": CPUS_SET, "tres_per_task": "cpu=3"}),
        ({"JOB_NUM_NODES": "2"}, {"min_nodes": 2, "max_nodes": 2, "min_cpus": 2}),
        ({"JOB_NUM_NODES": "1-2"}, {"min_nodes": 1, "max_nodes": 2, "min_cpus": 1}),
        ({"JOB_NUM_NODES": "4", "NTASKS": "2"}, {"min_nodes": 2, "max_nodes": 2, "num_tasks": 2, "min_cpus": 2}),
        ({"JOB_NUM_NODES": "1-4", "NTASKS": "2"}, {"min_nodes": 1, "max_nodes": 2, "num_tasks": 2, "min_cpus": 2}),
        ({"JOB_NUM_NODES": "2", "NTASKS_PER_NODE": "3"}, {"min_nodes": 2, "max_nodes": 2, "min_cpus": 6}),
        ({"NTASKS": "5", "NTASKS_PER_NODE": "2"}, {"min_nodes": 3, "num_tasks": 5, "min_cpus": 5}),
        ({"JOB_NODELIST": "node[1-3]"}, {"min_nodes": 3, "min_cpus": 3}),
        ({"JOB_NUM_NODES": "1", "NSOCKETS_PER_NODE": "2"}, {"min_nodes": 1, "num_tasks": 2, "min_cpus": 2}),
        ({"NTASKS": "9", "OVERCOMMIT": "1"}, {"num_tasks": 9, "min_cpus": 1, "overcommit": True}),
        ({"TRES_PER_TASK": "cpu=2,gres/gpu=1", "NTASKS": "2"}, {"cpus_per_task": 2, "min_cpus": 4}),
        (
            {"CPUS_PER_TASK": "2", "GPUS_PER_TASK": "1"},
            {"tres_per_task": "cpu=2,gres/gpu=1", "cpus_per_task": 2},
        ),
        ({"GPUS_PER_NODE": "1", "GRES": "x:1"}, {"tres_per_node": "gres/gpu:1,gres/x:1"}),
        ({"GPUS": "3", "NTASKS_PER_GPU": "2"}, {"num_tasks": 6, "min_cpus": 6, "tres_bind": "gres/gpu:single:2"}),
        ({"NTASKS_PER_GPU": "2", "GPU_BIND": "closest"}, {"tres_bind": "gres/gpu:closest", "ntasks_per_tres": 2}),
        ({"GPUS_PER_NODE": "2", "NTASKS_PER_GPU": "2"}, {"num_tasks": None, "min_cpus": 1}),
        ({"GPUS_PER_NODE": "2", "NTASKS_PER_GPU": "2", "JOB_NUM_NODES": "2"}, {"num_tasks": 8, "min_nodes": 2}),
        ({"HINT": "multithread"}, {"ntasks_per_core": 0xFFFF}),
        ({"REQ_SWITCH": "1@2", "WAIT4SWITCH": "5"}, {"req_switch": 1, "wait4switch": 300}),
        ({"EXCLUSIVE": ""}, {"shared": 0}),
    ],
    ids=str,
)
def test_numbers_follow_from_each_other(variables: dict[str, str], expected: dict[str, Any]) -> None:
    found = fields(**variables)
    assert {name: found.get(name) for name in expected if name != "bitflags"} == {
        name: value for name, value in expected.items() if name != "bitflags"
    }
    assert found.get("bitflags", 0) & expected.get("bitflags", 0) == expected.get("bitflags", 0)


def test_what_nobody_said_is_left_to_slurm() -> None:
    assert fields() == {"min_cpus": 1}


def test_a_hint_yields_to_an_explicit_setting() -> None:
    found = job.request({"SCRUN_HINT": "nomultithread", "SCRUN_THREADS_PER_CORE": "2"}, {}).job["request"]
    assert found["attributes"]["threads_per_core"] == 2
    assert "threads_per_core" not in found["fields"]


def test_all_of_the_memory_may_be_asked_for() -> None:
    assert fields(MEM_PER_NODE="0")["pn_min_memory"] == 0
