"""pause and resume: every process of a container stops, and goes on."""

from __future__ import annotations

import pytest

from . import slurm
from .conftest import MakeContainer
from .engines import Engine
from .oci import Container
from .users import User
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("it pauses by a cgroup, which a user hasn't got here")

TRAP = "trap 'exit 42' TERM; echo ready; while :; do sleep 0.1; done"
FORKING = "echo ready; fork() { while :; do (sleep 0.01 & sleep 0.01 &); done; }; fork & fork & fork"


def states(one: Container) -> set[str]:
    """The states that ps gives the container's processes, without the dead."""
    return {state for _, _, state in processes(one)}


def processes(one: Container) -> list[tuple[str, str, str]]:
    """Pid, parent and state of each process of the container that ps shows, without the dead."""
    rows = [row.split() for row in one.call("ps", "-o", "pid,ppid,state").ok().stdout.splitlines()[1:]]
    living = [(pid, parent, state) for pid, parent, state in rows if state not in {"Z", "X"}]
    assert living
    return living


def still_moving(one: Container) -> list[tuple[str, str, str]]:
    """The processes that haven't stopped. A process in D has, if a child is in T: it waits for that since vfork(2)."""
    every = processes(one)
    waited_for = {parent for _, parent, state in every if state == "T"}
    return [each for each in every if each[2] != "T" and not (each[2] == "D" and each[0] in waited_for)]


@pytest.mark.parametrize("program", [TRAP, f"sleep 1000 & {TRAP}", FORKING], ids=["one", "several", "forking"])
def test_every_process_stops_and_goes_on(container: MakeContainer, program: str) -> None:
    one = container("sh", "-c", program).started()
    one.wait_for_output(b"ready")
    one.call("pause").ok()
    assert one.status() == "paused"
    assert not still_moving(one)
    one.call("resume").ok()
    assert one.status() == "running"
    wait_until(lambda: "T" not in states(one), "all go on")


def test_what_was_execd_into_it_stops_too(container: MakeContainer) -> None:
    one = container("sh", "-c", TRAP).started()
    one.wait_for_output(b"ready")
    one.call("exec", "sleep", "6010", options=["--detach"]).ok()
    wait_until(lambda: "sleep 6010" in one.call("ps", "-o", "pid,args").stdout, "ps shows it")
    one.call("pause").ok()
    assert not still_moving(one)
    assert "sleep 6010" in one.call("ps", "-o", "pid,args").ok().stdout
    done = one.call("exec", "true")
    assert done.status != 0
    assert "it is paused" in done.stderr


def test_on_several_nodes_all_stop(container: MakeContainer) -> None:
    one = container("sh", "-c", TRAP).started(env={"SCRUN_JOB_NUM_NODES": "2"})
    one.wait_for_output(b"ready\nready\n")
    one.call("pause").ok()
    rows = [row.split() for row in one.call("ps", "-o", "pid,state").ok().stdout.splitlines()[1:]]
    assert {node for node, _, state in rows if state == "T"} == {"node1", "node2"}
    assert {state for _, _, state in rows} <= {"T", "D"}


def test_no_process_of_another_container_stops(container: MakeContainer) -> None:
    one, other = (container("sh", "-c", TRAP).started(env={"SCRUN_JOB_NODELIST": "node1"}) for _ in range(2))
    for each in (one, other):
        each.wait_for_output(b"ready")
    one.call("pause").ok()
    assert "T" not in states(other)


def test_term_is_delivered_when_the_container_goes_on(container: MakeContainer) -> None:
    one = container("sh", "-c", TRAP).started()
    one.wait_for_output(b"ready")
    one.call("pause").ok()
    one.call("kill", "TERM").ok()
    assert one.status() == "paused"
    one.call("resume").ok()
    assert one.ended() == 42


def test_kill_ends_a_paused_container_with_its_job(container: MakeContainer) -> None:
    one = container("sh", "-c", f"sleep 1000 & {TRAP}").started()
    one.wait_for_output(b"ready")
    one.call("pause").ok()
    one.call("kill", "KILL").ok()
    assert one.ended() == 137
    wait_until(lambda: one.record["job"] not in slurm.jobs(), "the job has gone")


def test_a_paused_container_whose_job_is_cancelled_ends(container: MakeContainer) -> None:
    one = container("sh", "-c", TRAP).started()
    one.wait_for_output(b"ready")
    one.call("pause").ok()
    slurm.cancel(one.record["job"])  # slurmstepd sends SIGCONT before SIGTERM: a trap is run
    assert one.ended() in (42, 137, 143)


def test_what_is_queued_cannot_be_paused(container: MakeContainer, held_node: int) -> None:
    one = container("true").started(env={"SCRUN_JOB_NODELIST": "node2", "SCRUN_CREATE_TIMEOUT": "1"})
    job = one.wait_until_queued()
    done = one.call("pause")
    assert done.status == 1
    assert f"container not running: its job {job} is queued" in done.stderr


def test_nobody_else_pauses_a_container(container: MakeContainer, bob: User) -> None:
    one = container("sh", "-c", TRAP).started()
    done = bob.run(*one.runtime.argv(f"--root={one.runtime.root}", "pause", one.id))
    assert done.status == 1
    assert "ermission denied" in done.stderr
    assert one.status() == "running"


# --- docker and podman


def test_an_engine_pauses_and_goes_on(engine: Engine) -> None:
    name = engine.detached("sh", "-c", TRAP, ready="ready")
    engine.call("pause", name).ok()
    assert engine.inspect(name)["State"]["Status"] == "paused"
    again = engine.call("pause", name)
    assert again.status != 0
    assert "paused" in again.stderr
    engine.call("unpause", name).ok()
    assert engine.inspect(name)["State"]["Status"] == "running"
    engine.call("stop", "--time", "1000", name).ok()
    assert engine.exit_code(name) == 42


def test_an_engine_removes_what_is_paused(engine: Engine) -> None:
    name = engine.detached("sh", "-c", TRAP, ready="ready")
    engine.call("pause", name).ok()
    engine.remove(name).ok()
    assert engine.call("inspect", name).status != 0


def test_docker_stops_what_is_paused(docker: Engine) -> None:
    # podman refuses to, whatever the runtime.
    name = docker.detached("sh", "-c", TRAP, ready="ready")
    docker.call("pause", name).ok()
    docker.call("stop", "--time", "1000", name).ok()
    assert docker.exit_code(name) == 42
