"""The job that the environments ask for: every SCRUN_* variable of scrun(1), who wins, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from scrun.errors import UsageError
from scrun.slurm import job

# variable without SCRUN_, value: attribute of pyslurm.JobSubmitDescription, its value
ACCEPTED: list[tuple[str, str, str, Any]] = [
    ("ACCOUNT", "physics", "account", "physics"),
    ("CORE_SPEC", "2", "cores_reserved_for_system", 2),
    ("CPUS_PER_GPU", "4", "cpus_per_gpu", "4"),
    ("CPUS_PER_TASK", "8", "cpus_per_task", 8),
    ("DEPENDENCY", "afterok:12", "dependencies", "afterok:12"),
    ("EXCLUSIVE", "", "resource_sharing", "no"),
    ("EXCLUSIVE", "exclusive", "resource_sharing", "no"),
    ("EXCLUSIVE", "user", "resource_sharing", "user"),
    ("GPUS_PER_NODE", "a100:2", "gres_per_node", "gpu:a100:2"),
    ("GRES", "gpu:1", "gres_per_node", "gpu:1"),
    ("JOB_NAME", "mine", "name", "mine"),
    ("JOB_NODELIST", "node[1-2]", "required_nodes", "node[1-2]"),
    ("JOB_NUM_NODES", "1-2", "nodes", "1-2"),
    ("MEM_PER_CPU", "100M", "memory_per_cpu", "100M"),
    ("NTASKS", "3", "ntasks", 3),
    ("OVERCOMMIT", "", "overcommit", True),
    ("OVERCOMMIT", "No", "overcommit", False),
    ("PARTITION", "gpu,debug", "partitions", "gpu,debug"),
    ("SPREAD_JOB", "1", "spreads_over_nodes", True),
    ("TIMELIMIT", "10", "time_limit", 10),
    ("TIMELIMIT", "10:30", "time_limit", 11),
    ("TIMELIMIT", "1:10:30", "time_limit", 71),
    ("TIMELIMIT", "2-12", "time_limit", 3600),
    ("TIMELIMIT", "2-12:30:00", "time_limit", 3630),
    ("TIMELIMIT", "unlimited", "time_limit", "UNLIMITED"),
    ("TIMELIMIT", "-1", "time_limit", "UNLIMITED"),
    ("USE_MIN_NODES", "true", "use_min_nodes", True),
]


@pytest.mark.parametrize(("name", "value", "attribute", "expected"), ACCEPTED)
def test_a_variable_becomes_an_attribute_of_the_job(name: str, value: str, attribute: str, expected: Any) -> None:
    found = job.request({f"SCRUN_{name}": value}, {})
    assert isinstance(found.job, dict)
    assert found.job[attribute] == expected
    assert type(found.job[attribute]) is type(expected)
    step = {f"SLURM_{name}": value} if name in job.LAYOUT_VARIABLES else {}
    assert (found.step, found.patience) == (step, None)


NUMBERS = sorted(name for name, (_, parse) in job.JOB_VARIABLES.items() if parse is job.JOB_VARIABLES["NTASKS"][1])
SWITCHES = sorted(name for name, (_, parse) in job.JOB_VARIABLES.items() if parse is job.JOB_VARIABLES["OVERCOMMIT"][1])


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        *[(name, value, "a whole number") for name in NUMBERS for value in ("", "x", "-1", "1.5", "1 ", "²")],
        *[(name, "maybe", "yes or no") for name in SWITCHES],
        *[
            ("TIMELIMIT", value, "minutes, minutes:seconds, .* or UNLIMITED")
            for value in ("", "soon", "1:2:3:4", "x-1", "1-", ":", "-5", "1.5", "1-1-1")
        ],
        *[("CREATE_TIMEOUT", value, "a whole number") for value in ("", "long", "-1")],
    ],
)
def test_a_value_that_is_none_is_refused_with_the_variable_and_what_is_accepted(
    name: str, value: str, accepted: str
) -> None:
    with pytest.raises(UsageError, match=f"^SCRUN_{name}={value!r} is not {accepted}$"):
        job.request({f"SCRUN_{name}": value}, {})


def test_a_job_that_nobody_describes_has_only_its_name() -> None:
    assert job.request({"PATH": "/bin", "SLURM_CONF": "/c"}, {"PATH": "/bin"}).job == {"name": "scrun"}


def test_what_the_containers_environment_says_wins() -> None:
    found = job.request(
        {"SCRUN_PARTITION": "debug", "SCRUN_ACCOUNT": "a", "SCRUN_MPI_TYPE": "none"},
        {"SCRUN_PARTITION": "gpu", "SCRUN_MPI_TYPE": "pmix"},
    )
    assert found.job == {"name": "scrun", "partitions": "gpu", "account": "a"}
    assert found.step == {"SLURM_MPI_TYPE": "pmix"}


@pytest.mark.parametrize("name", job.STEP_VARIABLES)
def test_what_concerns_the_step_is_given_to_srun(name: str) -> None:
    found = job.request({f"SCRUN_{name}": "value"}, {})
    assert found.step == {f"SLURM_{name}": "value"}
    assert found.job == {"name": "scrun"}


def test_a_variable_concerns_the_job_or_the_step() -> None:
    assert not set(job.JOB_VARIABLES) & set(job.STEP_VARIABLES)


@pytest.mark.parametrize(
    ("caller", "container", "found"),
    [
        ({"SLURM_JOB_ID": "7"}, {}, 7),
        ({}, {"SLURM_JOB_ID": "8"}, 8),
        ({"SLURM_JOB_ID": "7"}, {"SLURM_JOB_ID": "8"}, 8),
        ({"SLURM_JOB_ID": "7"}, {"SLURM_JOB_ID": ""}, 7),
        ({"SLURM_JOB_ID": "7", "SCRUN_PARTITION": "gpu", "SCRUN_NTASKS": "x"}, {}, 7),
    ],
)
def test_an_allocation_that_is_there_is_used(caller: dict[str, str], container: dict[str, str], found: int) -> None:
    assert job.request(caller, container).job == found


def test_an_allocation_that_is_no_number_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^SLURM_JOB_ID='x' is not a whole number$"):
        job.request({"SLURM_JOB_ID": "x"}, {})


@pytest.mark.parametrize(
    ("variables", "nodes", "tasks"),
    [
        ({"JOB_NODELIST": "node[1-2]"}, "2-2", 2),
        ({"JOB_NODELIST": "node[1-2]", "NTASKS": "5"}, "2-5", 5),
        ({"JOB_NODELIST": "node[1-2]", "JOB_NUM_NODES": "3"}, "3", 3),
        ({"JOB_NODELIST": "node1"}, None, None),
        ({"JOB_NODELIST": "node1", "NTASKS": "5"}, None, 5),
        ({"NTASKS": "5"}, None, 5),
        ({"JOB_NUM_NODES": "2"}, "2", 2),
        ({"JOB_NUM_NODES": "2", "NTASKS_PER_NODE": "3"}, "2", 6),
    ],
)
def test_there_are_as_many_nodes_and_tasks_as_srun_would_ask_for(
    variables: dict[str, str], nodes: str | None, tasks: int | None
) -> None:
    found = job.request({f"SCRUN_{name}": value for name, value in variables.items()}, {}).job
    assert isinstance(found, dict)
    assert (found.get("nodes"), found.get("ntasks")) == (nodes, tasks)


@pytest.mark.parametrize(("value", "patience"), [("0", 0), ("30", 30)])
def test_create_waits_as_long_as_it_is_told(value: str, patience: float) -> None:
    assert job.request({"SCRUN_CREATE_TIMEOUT": value}, {}).patience == patience


def test_every_kind_of_value_has_a_row_above() -> None:
    covered = {job.JOB_VARIABLES[name][1] for name, *_ in ACCEPTED}
    assert covered == {parse for _, parse in job.JOB_VARIABLES.values()}
