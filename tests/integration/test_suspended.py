"""A job that Slurm has suspended, an agent that is stopped, a slurmstepd that has died: containers end all the same."""

from __future__ import annotations

import subprocess

import pytest

from . import slurm
from .conftest import MakeContainer
from .engines import Engine
from .oci import Container
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("has no Slurm")

TRAP = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done"


def scontrol(verb: str, job: int) -> None:
    """Suspend or resume a job, as an operator may."""
    subprocess.run(["scontrol", verb, str(job)], timeout=30, check=True)


@pytest.fixture
def suspended(container: MakeContainer) -> Container:
    """A container that runs, in a job that doesn't."""
    one = container("sh", "-c", TRAP).started()
    one.wait_for_output(b"ready\n")
    scontrol("suspend", one.record["job"])
    # slurmctld says so before the node has stopped anything.
    look = "ps -eo stat=,args= | grep '[e]xit 9. TERM; echo ready' | cut -c 1; :"
    # A shell whose child was stopped between vfork and exec can't stop itself: it is D, beside the child's T.
    wait_until(
        lambda: set(slurm.on_node(one.record["nodes"], look).split()) in ({"T"}, {"D", "T"}),
        "the node has stopped the container",
    )
    return one


def test_signal_to_a_suspended_job_waits_for_resume(suspended: Container) -> None:
    suspended.call("kill", "TERM").ok()
    assert suspended.status() == "running"
    scontrol("resume", suspended.record["job"])
    assert suspended.ended() == 9


def test_a_signal_waits_for_a_silent_agent(container: MakeContainer) -> None:
    one = container("sh", "-c", TRAP).started()
    one.wait_for_output(b"ready\n")
    slurm.on_node(one.record["nodes"], "pkill -STOP -x scrun-node")
    one.call("kill", "TERM").ok()
    assert one.status() == "running"
    slurm.on_node(one.record["nodes"], "pkill -CONT -x scrun-node")
    assert one.ended() == 9


def test_a_suspended_job_is_killed(suspended: Container) -> None:
    job = suspended.record["job"]
    suspended.call("kill", "KILL").ok()
    assert suspended.ended() == 137
    wait_until(lambda: job not in slurm.jobs(), "its job has gone")


@pytest.mark.parametrize("how", ["suspended", "without its slurmstepd"])
def test_podman_removes_at_once_what_does_not_answer(podman: Engine, how: str) -> None:
    name = podman.detached("sh", "-c", TRAP, ready="ready")
    (job,) = slurm.jobs(podman.user)
    if how == "suspended":
        scontrol("suspend", job)
    else:
        slurm.on_nodes(f"pkill -KILL -f 'slurmstepd: \\[{job}.0\\]'; :")
    podman.remove(name).ok()
    wait_until(lambda: job not in slurm.jobs(), "its job has gone")
