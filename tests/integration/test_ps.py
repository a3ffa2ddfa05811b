"""ps: the container's processes as they are on its node, and never the node's others."""

from __future__ import annotations

import json

import pytest

from . import slurm
from .conftest import MakeContainer
from .oci import Container
from .rootfs import Config
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("it lists processes by a cgroup, which a user hasn't got here")

TREE = ("sh", "-c", "sleep 6001 & sh -c 'sleep 6002; :' & echo ready; sleep 6003; :")


@pytest.fixture
def tree(container: MakeContainer) -> Container:
    """A container of five processes."""
    one = container(*TREE).started()
    wait_until(lambda: commands(one) == OURS, "all of them run, and ps shows no others")
    return one


def commands(one: Container) -> list[str]:
    """What ps says the processes execute, sorted."""
    header, *rows = one.call("ps", "-o", "pid,args").ok().stdout.splitlines()
    assert header.split() == ["PID", "COMMAND"]
    return sorted(row.split(maxsplit=1)[1] for row in rows)


OURS = sorted(["sleep 6001", "sh -c sleep 6002; :", "sleep 6002", "sleep 6003", "sh -c " + TREE[2]])


def test_table_has_only_the_containers_processes(tree: Container) -> None:
    assert commands(tree) == OURS


def test_without_options_it_is_as_ps_ef(tree: Container) -> None:
    header, *rows = tree.call("ps").ok().stdout.splitlines()
    assert header.split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert len(rows) == len(OURS)
    assert {row.split()[0] for row in rows} == {"alice"}


@pytest.mark.parametrize("spelling", [("-f", "json"), ("--format=json",)])
def test_json_are_the_pids_on_the_node(tree: Container, spelling: tuple[str, ...]) -> None:
    pids = json.loads(tree.call("ps", options=spelling).ok().output)
    assert all(isinstance(pid, int) for pid in pids)
    script = f"for pid in {' '.join(map(str, pids))}; do tr '\\0' ' ' </proc/$pid/cmdline; echo; done"
    lines = slurm.on_node(tree.record["nodes"], script).splitlines()
    assert sorted(line.strip() for line in lines) == OURS


def test_node_pid_namespace_shows_the_same_processes(container: MakeContainer) -> None:
    def nodes_pids(config: Config) -> None:
        spaces = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [space for space in spaces if space["type"] != "pid"]
        proc = next(mount for mount in config["mounts"] if mount["destination"] == "/proc")
        proc.update(type="bind", source="/proc", options=["rbind"])

    one = container(*TREE, change=nodes_pids).started()
    wait_until(lambda: commands(one) == OURS, "all of them run, and ps shows no others")


def test_of_several_nodes_each_row_says_its_node(container: MakeContainer) -> None:
    one = container("sh", "-c", "sleep 6004; :").started(env={"SCRUN_JOB_NUM_NODES": "2"})
    wait_until(lambda: one.call("ps", "-o", "pid,args").ok().stdout.count(" sleep 6004\n") == 2, "both run")
    header, *rows = one.call("ps", "-o", "pid,args").ok().stdout.splitlines()
    assert header.split() == ["NODE", "PID", "COMMAND"]
    assert [row.split()[0] for row in rows] == ["node1", "node1", "node2", "node2"]
    assert sum(row.split(maxsplit=2)[2] == "sleep 6004" for row in rows) == 2


@pytest.mark.parametrize(
    ("options", "said"), [(("-o", "args"), "ps prints no column PID"), (("--nosuch",), "unknown gnu long option")]
)
def test_options_that_ps_cannot_do_are_one_line(tree: Container, options: tuple[str, ...], said: str) -> None:
    done = tree.call("ps", *options)
    assert (done.status, done.stdout) == (1, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_queued_container_has_no_processes_yet(container: MakeContainer, held_node: int) -> None:
    one = container("true")
    one.started(env={"SCRUN_JOB_NODELIST": "node2", "SCRUN_CREATE_TIMEOUT": "1"})
    job = one.wait_until_queued()
    done = one.call("ps")
    assert done.status == 1
    assert f"has no processes yet: its job {job} is queued" in done.stderr
