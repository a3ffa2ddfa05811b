"""create that is interrupted while its job is queued: the job is given up, and nothing is left."""

from __future__ import annotations

import signal
import subprocess

import pytest

from . import slurm
from .conftest import MakeContainer
from .oci import Container
from .processes import descendants, is_running
from .waiting import PATIENCE, wait_until

pytestmark = pytest.mark.slurm_only("nothing is queued")

ON_HELD_NODE = {"SCRUN_JOB_NODELIST": "node2"}


def creating(one: Container) -> tuple[subprocess.Popen[bytes], int]:
    """A create that waits for its job, and the job."""
    process = one.runtime.user.start(
        *one.runtime.argv("create", "--bundle", str(one.bundle), one.id), env=ON_HELD_NODE, stderr=subprocess.PIPE
    )
    return process, one.wait_until_queued()


@pytest.mark.usefixtures("held_node")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_the_job_and_leaves_nothing(container: MakeContainer, number: signal.Signals) -> None:
    one = container("true")
    process, job = creating(one)
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number
    assert job not in slurm.jobs()
    assert not one.path.exists()
    assert b"Traceback" not in errors


@pytest.mark.usefixtures("held_node")
def test_second_signal_does_not_interrupt_the_cleanup(container: MakeContainer) -> None:
    one = container("true")
    process, job = creating(one)
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
    process.communicate(timeout=PATIENCE)
    wait_until(lambda: job not in slurm.jobs(), "the job has gone")
    assert not one.path.exists()


@pytest.mark.usefixtures("held_node")
def test_create_killed_outright_leaves_no_job_either(container: MakeContainer) -> None:
    one = container("true")
    process, job = creating(one)
    processes = descendants(process.pid)
    process.kill()
    process.communicate(timeout=PATIENCE)
    wait_until(lambda: job not in slurm.jobs(), "the job has gone")
    wait_until(lambda: not one.path.exists(), "the container's directory has gone")
    wait_until(lambda: not any(map(is_running, processes)), "its processes have gone")


@pytest.mark.usefixtures("held_node")
def test_anchor_killed_during_create_fails_without_a_job(container: MakeContainer) -> None:
    one = container("true")
    process, job = creating(one)
    anchor = one.record["anchor"]
    subprocess.run(["kill", "-KILL", str(anchor)], check=True)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert len(errors.decode().splitlines()) == 1
    wait_until(lambda: job not in slurm.jobs(), "the job has gone")


@pytest.mark.usefixtures("held_node")
def test_ctrl_c_does_not_interrupt_the_anchors_cleanup(container: MakeContainer) -> None:
    # The terminal sends it to create's whole process group.
    one = container("true")
    process, job = creating(one)
    subprocess.run(["kill", "-INT", "--", f"-{process.pid}"], check=True)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert job not in slurm.jobs()
    assert not one.path.exists()


@pytest.mark.usefixtures("held_node")
def test_job_cancelled_during_create_is_an_error(container: MakeContainer) -> None:
    one = container("true")
    process, job = creating(one)
    slurm.cancel(job)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert str(job) in errors.decode()
    assert "cancelled" in errors.decode()
    assert len(errors.decode().splitlines()) == 1
    assert not one.path.exists()
