"""slurmctld that doesn't answer for a while: what was owed to it is paid as soon as it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import slurm
from .conftest import MakeContainer
from .oci import Container
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("has no Slurm")


class Outage:
    """A configuration with which slurmctld is out of reach, as long as it lasts; the cluster itself goes on."""

    def __init__(self, conf: Path) -> None:
        self.conf, self._whole = conf, conf.read_text()

    def begin(self) -> None:
        """No libslurm and no srun that reads the file from now on reaches slurmctld."""
        self.conf.write_text(self._whole + "SlurmctldPort=1\n")

    def end(self) -> None:
        """All is as it was."""
        self.conf.write_text(self._whole)


@pytest.fixture
def outage(slurm_conf: Callable[..., Path]) -> Iterator[Outage]:
    """For containers that are created with ``-f`` and its ``conf``."""
    one = Outage(slurm_conf(MessageTimeout="2"))
    yield one
    one.end()


def gave_up(one: Container) -> bool:
    """Whether the anchor has found that it can't give the job back."""
    return "slurmctld can't be reached" in (one.path / "anchor.log").read_text()


def test_the_job_of_what_was_killed_meanwhile_is_given_back_afterwards(
    container: MakeContainer, outage: Outage
) -> None:
    one = container("sleep", "60").created(global_options=["-f", str(outage.conf)])
    job = one.record["job"]
    outage.begin()
    one.call("kill", "KILL").ok()
    one.wait_for("stopped")
    wait_until(lambda: gave_up(one), "the anchor has tried", 30)
    assert one.ended() == 137, "who waits for the container needn't wait for slurmctld"
    assert job in slurm.jobs()
    outage.end()
    wait_until(lambda: job not in slurm.jobs(), "its job has gone", 30)
    assert one.status() == "stopped"
    one.call("delete").ok()


def test_what_was_deleted_meanwhile_goes_afterwards(container: MakeContainer, outage: Outage) -> None:
    one = container("sleep", "60").created(global_options=["-f", str(outage.conf)])
    job = one.record["job"]
    outage.begin()
    refused = one.call("delete", options=["--force"])
    assert refused.status == 1
    assert b"slurmctld can't be reached" in refused.errors
    assert one.path.exists()
    outage.end()
    wait_until(lambda: job not in slurm.jobs(), "its job has gone", 30)
    wait_until(lambda: not one.path.exists(), "its directory has gone", 30)


def test_a_delete_that_comes_again_tries_again_at_once(container: MakeContainer, outage: Outage) -> None:
    one = container("sleep", "60").created(global_options=["-f", str(outage.conf)])
    job = one.record["job"]
    outage.begin()
    assert one.call("delete").status == 1
    assert one.call("delete").status == 1
    outage.end()
    one.call("delete").ok()
    assert not one.path.exists()
    wait_until(lambda: job not in slurm.jobs(), "its job has gone")
