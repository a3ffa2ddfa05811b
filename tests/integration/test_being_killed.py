"""A container that was told to end at once: nothing further is begun in it while its processes are still there."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest

from . import slurm
from .conftest import MakeContainer
from .oci import Container
from .users import User

pytestmark = pytest.mark.slurm_only("kills at once")


def to_agent(name: str, one: Container) -> None:
    """Send a signal to the agent on the container's node."""
    slurm.on_node(one.record["nodes"], f"pkill -{name} -x scrun-node; :")


@pytest.fixture
def lingering(container: MakeContainer, alice: User) -> Iterator[Container]:
    """A container that runs, on whose node SIGKILL takes its time: its agent is stopped, and so is its srun."""
    one = container("sh", "-c", "echo ready; exec sleep 1000")
    job = slurm.allocate(alice)  # in a job that isn't the container's srun has 7 s to end the step
    one.started(env={"SLURM_JOB_ID": str(job)})
    one.wait_for_output(b"ready")
    srun = one.record["step_pid"]
    to_agent("STOP", one)
    os.kill(srun, signal.SIGSTOP)
    yield one
    to_agent("CONT", one)
    with contextlib.suppress(ProcessLookupError):
        os.kill(srun, signal.SIGCONT)
    assert one.ended() == 137
    slurm.release(job)


def refused(one: Container, *argv: str) -> str:
    done = one.runtime.run(*argv)
    assert done.status
    return done.stderr


# One call in each test: after seven seconds srun is killed, whatever the node's runtime does.
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("exec", "{}", "true"), "container not running: it is being killed"),
        (("pause", "{}"), "container not running: it is being killed"),
        (("update", "--time-limit=5", "{}"), "container not running: it is being killed"),
        (("start", "{}"), "it is being killed, not created"),
    ],
    ids=["exec", "pause", "update", "start"],
)
def test_nothing_starts_in_a_container_being_killed(lingering: Container, words: tuple[str, ...], said: str) -> None:
    lingering.call("kill", "KILL").ok()
    assert said in refused(lingering, *(word.format(lingering.id) for word in words))


def test_engines_may_kill_twice(lingering: Container) -> None:
    for _ in range(2):
        lingering.call("kill", "KILL").ok()
    assert lingering.status() == "running"


def test_one_that_was_paused_does_not_go_on(lingering: Container) -> None:
    to_agent("CONT", lingering)
    lingering.call("pause").ok()
    to_agent("STOP", lingering)
    lingering.call("kill", "KILL").ok()
    assert "container not paused: it is being killed" in refused(lingering, "resume", lingering.id)
    assert "container not running" in refused(lingering, "exec", "--ignore-paused", lingering.id, "true")
