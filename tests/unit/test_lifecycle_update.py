"""update: what may be changed of a job, and what is refused, by name."""

from __future__ import annotations

from typing import Any

import pytest

from scrun.errors import ScrunError, UsageError, WrongStatus
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.operations import update
from scrun.slurm import job_changes

# As containerd sends it for `docker update --restart=no`, with everything at zero, and podman with what it made.
NOTHING = [
    {},
    {"memory": {"limit": 0, "reservation": 0, "swap": 0}, "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": ""}},
    {"blockIO": {"weight": 0, "leafWeight": None, "weightDevice": []}, "pids": {}, "hugepageLimits": None},
    {"devices": [{"allow": False, "access": "rwm"}]},
    {"memory": {"limit": 67108864}},
]


@pytest.mark.parametrize("resources", NOTHING)
def test_a_document_that_changes_nothing_is_accepted(resources: dict[str, Any], container: Container) -> None:
    container.record["resources"] = {"memory": {"limit": 67108864, "swap": 134217728}}
    update.update_job(container, {}, resources, {})


@pytest.mark.parametrize(
    ("resources", "named", "instead"),
    [
        ({"cpu": {"quota": 200000, "period": 100000}}, "cpu.quota, cpu.period", "SCRUN_CPUS_PER_TASK"),
        (
            {"memory": {"limit": 1}, "cpu": {"shares": 2}},
            "memory.limit, cpu.shares",
            "SCRUN_CPUS_PER_TASK and SCRUN_MEM",
        ),
        ({"memory": {"limit": 33554432}}, "memory.limit", "SCRUN_MEM_PER_NODE"),
        ({"pids": {"limit": -1}}, "pids.limit", "SCRUN_*"),
        ({"unified": {"memory.high": "1"}}, "unified.memory.high", "SCRUN_*"),
        ({"blockIO": {"weightDevice": [{"major": 8, "weight": 5}]}}, "blockIO.weightDevice", "SCRUN_*"),
    ],
)
def test_what_asks_for_something_is_refused_by_name(
    resources: dict[str, Any], named: str, instead: str, container: Container
) -> None:
    container.record["resources"] = {"memory": {"limit": 67108864}}
    with pytest.raises(UsageError) as refusal:
        update.update_job(container, {"TIMELIMIT": "5"}, resources, {})
    assert f"can't change {named} of container 'box'" in str(refusal.value)
    assert instead in str(refusal.value)


def test_runcs_options_are_refused_by_name_too(container: Container) -> None:
    with pytest.raises(UsageError, match="can't change --cpu-quota, --memory of container 'box'"):
        update.update_job(container, {}, {}, {"cpu_quota": "5", "memory": "64m", "pids_limit": "0", "cpuset_cpus": ""})


@pytest.mark.parametrize("now", ["creating", "stopped"])
def test_only_a_container_with_a_job_is_updated(now: str, container: Container) -> None:
    container.record["status"] = now
    with pytest.raises(WrongStatus, match=f"cannot update container 'box': container not running: it is {now}"):
        update.update_job(container, {}, {}, {})


def test_a_container_without_a_job_yet_says_so(container: Container) -> None:
    with pytest.raises(WrongStatus, match="it has no job yet"):
        update.update_job(container, {"TIMELIMIT": "5"}, {}, {})


def test_command_line_changes_use_job_variable_names() -> None:
    given_ = update.changes_of(["SCRUN_QOS=high", "comment=a=b", "TIMELIMIT=1"], "2")
    assert given_ == {"QOS": "high", "COMMENT": "a=b", "TIMELIMIT": "2"}
    with pytest.raises(UsageError, match="--set 'QOS' is not NAME=VALUE"):
        update.changes_of(["QOS"], None)


def test_refusing_an_unchangeable_property_lists_changeable_ones() -> None:
    with pytest.raises(UsageError, match="NTASKS of an existing job can't be changed: use one of ACCOUNT, "):
        job_changes.checked({"NTASKS": "2"})
    assert job_changes.checked({"TIMELIMIT": "1:00:00", "QOS": "high"}) == {"TIMELIMIT": 60, "QOS": "high"}


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("0", "UNLIMITED"),
        ("30", 30),
        ("1:00", 1),
        ("1:01", 2),
        ("2:00:00", 120),
        ("2:00:01", 121),
        ("1-0", 1440),
        ("1-1", 1500),
        ("1-1:30", 1530),
        ("1-1:30:30", 1531),
        ("unlimited", "UNLIMITED"),
        ("-1", "UNLIMITED"),
    ],
)
def test_a_time_limit_has_sbatchs_forms(text: str, minutes: int | str) -> None:
    assert job_changes.time_limit(text) == minutes


@pytest.mark.parametrize(
    ("text", "said"), [("{", "are not JSON:"), ("[]", "are not a JSON object"), ("", "are not JSON")]
)
def test_resources_that_are_no_document_are_an_error(text: str, said: str) -> None:
    with pytest.raises(ScrunError, match=f"the resources in standard input {said}"):
        update.read_resources(text, "standard input")
