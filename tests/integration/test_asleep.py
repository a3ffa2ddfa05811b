"""A container's processes that have nothing to do are scrun-wait, and wake up for whatever there is to do."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from . import slurm
from .conftest import MakeContainer
from .engines import Engine
from .oci import Container
from .processes import descendants, is_running
from .rootfs import new_network
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("no process stays with a container")

TELLS = ("sh", "-c", "trap 'echo term' TERM; trap 'echo hup; exit 9' HUP; echo ready; while :; do sleep 0.1; done")
STUBBORN = ("sh", "-c", "trap '' TERM INT HUP; echo ready; while :; do sleep 0.1; done")


def is_asleep(pid: int) -> bool:
    """Whether scrun-wait is in the process's place."""
    try:
        return Path(f"/proc/{pid}/exe").readlink().name == "scrun-wait"
    except FileNotFoundError:
        return False


def fall_asleep(one: Container) -> Container:
    """Wait until the container's stand-in sleeps."""
    wait_until(lambda: is_asleep(one.record["pid"]), "the stand-in sleeps")
    return one


def kilobytes(pid: int) -> int:
    """The process's memory, with its share of what is shared (PSS)."""
    found = re.search(r"^Pss: *(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


@pytest.mark.parametrize("change", [None, new_network], ids=["machine's network", "new network"])
def test_signals_and_status_pass_a_sleeping_stand_in(container: MakeContainer, change: object) -> None:
    one = fall_asleep(container(*TELLS, change=change).started())
    assert kilobytes(one.record["pid"]) < 200
    os.kill(one.record["pid"], signal.SIGTERM)
    one.wait_for_output(b"term\n")
    os.kill(one.record["pid"], signal.SIGHUP)
    assert one.ended() == 9


@pytest.mark.parametrize("change", [None, new_network], ids=["machine's network", "new network"])
@pytest.mark.parametrize("who", ["anchor", "pid"])
def test_a_killed_process_ends_a_sleeping_containers_job(container: MakeContainer, who: str, change: object) -> None:
    one = fall_asleep(container(*STUBBORN, change=change).started())
    record = one.record
    processes = {record["pid"], record["anchor"], *descendants(record["anchor"]), *descendants(record["pid"])}
    os.kill(record[who], signal.SIGKILL)
    one.wait_for("stopped")
    wait_until(lambda: record["job"] not in slurm.jobs(), "its job has gone")
    wait_until(lambda: not any(map(is_running, processes)), "its processes have gone, srun too")
    assert one.ended() == (-9 if who == "pid" else 137)


def test_killing_a_waking_stand_in_ends_the_job(container: MakeContainer) -> None:
    one = fall_asleep(container(*STUBBORN).started())
    record = one.record
    os.kill(record["pid"], signal.SIGSTOP)
    os.kill(record["anchor"], signal.SIGKILL)  # the stand-in can't wake up for that
    os.kill(record["pid"], signal.SIGKILL)
    one.wait_for("stopped")
    one.call("delete").ok()
    wait_until(lambda: record["job"] not in slurm.jobs(), "its job has gone")


@pytest.mark.parametrize("name", ["podman", "docker"])
def test_an_engine_stops_a_container_that_sleeps(name: str, request: pytest.FixtureRequest) -> None:
    engine: Engine = request.getfixturevalue(name)
    box = engine.detached(*TELLS)
    pid = int(engine.inspect(box)["State"]["Pid"])
    wait_until(lambda: is_asleep(pid), "the stand-in sleeps")
    engine.call("kill", "--signal", "HUP", box).ok()
    wait_until(lambda: not engine.inspect(box)["State"]["Running"], "it has ended")
    assert engine.inspect(box)["State"]["ExitCode"] == 9


def test_podman_top_of_a_sleeping_container_says_where(podman: Engine) -> None:
    box = podman.detached("sleep", "1000")
    pid = int(podman.inspect(box)["State"]["Pid"])
    wait_until(lambda: is_asleep(pid), "the stand-in sleeps")
    for options in ((), ("-o", "pid,comm,args")):
        _, row = podman.call("top", box, *options).ok().stdout.splitlines()
        assert f"scrun ps {podman.inspect(box)['Id']}" in row
        assert "on-a-slurm-node" in row or not options
