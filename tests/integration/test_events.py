"""events: what a container uses on its node, until it ends."""

from __future__ import annotations

import json
import subprocess

import pytest

from . import slurm
from .conftest import MakeContainer
from .oci import Container
from .waiting import PATIENCE, wait_until

pytestmark = pytest.mark.slurm_only("it counts by a cgroup, which a user hasn't got here")

BUSY = ("sh", "-c", "sleep 1000 & i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; echo done; sleep 1000; :")


def wait_for_processes(one: Container, number: int) -> None:
    """Until so many run; what a shell starts comes a moment after what it says."""

    def current() -> int:
        return int(json.loads(one.call("events", options=["--stats"]).ok().output)["data"]["pids"]["current"])

    wait_until(lambda: current() == number, f"{number} processes run")


def test_stats_cover_the_processes_and_the_job(container: MakeContainer) -> None:
    one = container(*BUSY).started(env={"SCRUN_MEM_PER_NODE": "100"})
    one.wait_for_output(b"done")
    wait_for_processes(one, 3)
    (line,) = one.call("events", options=["--stats"]).ok().stdout.splitlines()
    event = json.loads(line)
    assert (event["type"], event["id"]) == ("stats", one.id)
    data = event["data"]
    assert data["pids"]["current"] == 3
    assert 0 < data["cpu"]["usage"]["total"] == data["cpu"]["usage"]["user"] + data["cpu"]["usage"]["kernel"]
    assert 0 < data["memory"]["usage"]["usage"] < data["memory"]["usage"]["limit"] == 100 << 20
    job = data["job"]
    assert (job["id"], job["state"], job["partition"]) == (one.record["job"], "RUNNING", "debug")
    assert job["nodes"] == [one.record["nodes"]]


@pytest.mark.parametrize(
    ("env", "megabytes"),
    [({"SCRUN_CPUS_PER_TASK": "2"}, 100), ({"SCRUN_MEM_PER_CPU": "30", "SCRUN_JOB_NUM_NODES": "2"}, 60)],
    ids=["the partition's, for each CPU", "for each CPU of two nodes"],
)
def test_a_limit_for_each_cpu_is_the_jobs(container: MakeContainer, env: dict[str, str], megabytes: int) -> None:
    one = container("sleep", "1000").started(env=env)
    data = json.loads(one.call("events", options=["--stats"]).ok().stdout)["data"]
    assert data["memory"]["usage"]["limit"] == megabytes << 20


def test_stats_of_several_nodes_are_listed_and_summed(container: MakeContainer) -> None:
    one = container("sh", "-c", "echo ready; sleep 1000; :").started(env={"SCRUN_JOB_NUM_NODES": "2"})
    wait_for_processes(one, 4)
    data = json.loads(one.call("events", options=["--stats"]).ok().output)["data"]
    assert data["pids"]["current"] == 4
    assert {name: stats["pids"]["current"] for name, stats in data["nodes"].items()} == {"node1": 2, "node2": 2}


def test_a_queued_container_waits_for_slurms_reason(container: MakeContainer, held_node: int) -> None:
    one = container("true").created(env={"SCRUN_JOB_NODELIST": "node2", "SCRUN_CREATE_TIMEOUT": "1"})
    one.wait_until_queued()
    data = json.loads(one.call("events", options=["--stats"]).ok().output)["data"]
    assert (data["job"]["state"], data["pids"]["current"]) == ("PENDING", 0)
    assert data["job"]["reason"]


def test_events_go_on_until_the_container_ends(container: MakeContainer) -> None:
    one = container("sleep", "1000").started()
    events = one.runtime.user.start(
        *one.runtime.argv("events", "--interval", "50ms", one.id),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert events.stdout
    lines = [events.stdout.readline() for _ in range(2)]
    one.call("kill", "KILL").ok()
    rest, errors = events.communicate(timeout=PATIENCE)
    assert (events.returncode, errors) == (0, b"")
    times = [json.loads(line)["data"]["job"]["elapsed"] for line in (*lines, *rest.splitlines())]
    assert times == sorted(times)


def test_looking_leaves_no_step(container: MakeContainer) -> None:
    one = container("sleep", "1000").started()
    one.call("events", options=["--stats"]).ok()
    slurm.wait_until_alone(one.record["job"], one.record["step"])
