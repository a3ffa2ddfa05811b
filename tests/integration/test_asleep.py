"""A container's processes that have nothing to do are scrun-wait, and wake up for whatever there is to do."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from . import console, slurm
from .conftest import MakeContainer
from .engines import Engine
from .oci import Container
from .processes import descendants, is_running, parent
from .rootfs import new_network
from .test_engine_network_faults import helpers
from .test_engine_networks import fetched, server
from .users import User
from .waiting import read_until, wait_until

pytestmark = [pytest.mark.slurm_only("no process stays with a container"), pytest.mark.waits]

TELLS = ("sh", "-c", "trap 'echo term' TERM; trap 'echo hup; exit 9' HUP; echo ready; while :; do sleep 0.1; done")
STUBBORN = ("sh", "-c", "trap '' TERM INT HUP; echo ready; while :; do sleep 0.1; done")
ECHOES = ("sh", "-c", "echo ready; while read line; do echo got $line; done; echo end; exit 4")


def is_asleep(pid: int) -> bool:
    """Whether scrun-wait is in the process's place."""
    try:
        return Path(f"/proc/{pid}/exe").readlink().name == "scrun-wait"
    except FileNotFoundError:
        return False


def wait_asleep(record: dict[str, Any]) -> None:
    """Wait until both of a container's processes sleep."""
    for who in ("pid", "anchor"):
        wait_until(lambda who=who: is_asleep(record[who]), f"the process {who} sleeps")  # type: ignore[misc]


def fall_asleep(one: Container) -> Container:
    """Wait until the container runs, and its processes sleep."""
    one.wait_for_output(b"ready\n")
    wait_asleep(one.record)
    return one


def all_asleep(several: Sequence[Container]) -> Sequence[Container]:
    """Wait until all of these sleep: together they take as long as one."""
    for one in several:
        fall_asleep(one)
    return several


def of_engine(engine: Engine, box: str) -> dict[str, Any]:
    """The record of an engine's container."""
    name = engine.inspect(box)["Id"]
    own = "" if engine.user.name == "root" else f"user/{engine.user.uid}/"
    for pattern in (f"{own}scrun", f"{own}docker/runtime-*/moby"):
        for path in Path("/run").glob(f"{pattern}/{name}/state.json"):
            return dict(json.loads(path.read_text()))
    raise AssertionError(f"there is no record of {name}")


def kilobytes(pid: int) -> int:
    """The process's memory, with its share of what is shared (PSS)."""
    found = re.search(r"^Pss: *(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


@pytest.mark.parametrize("change", [None, new_network], ids=["machine's network", "new network"])
def test_signals_and_status_pass_sleeping_processes(container: MakeContainer, change: object) -> None:
    one = fall_asleep(container(*TELLS, change=change).started())
    assert max(kilobytes(one.record["pid"]), kilobytes(one.record["anchor"])) < 200
    os.kill(one.record["pid"], signal.SIGTERM)
    one.wait_for_output(b"term\n")
    wait_asleep(one.record)
    os.kill(one.record["pid"], signal.SIGHUP)
    assert one.ended() == 9


def test_a_container_on_its_engines_network_sleeps(main_engine: Engine) -> None:
    name = server(main_engine, "-p", "18310:80")
    assert fetched("127.0.0.1:18310") == "hello\n"
    record = of_engine(main_engine, name)
    (helper,) = (pid for pid in helpers() if parent(pid) == record["anchor"])
    wait_asleep(record)
    assert kilobytes(record["anchor"]) < 200
    assert fetched("127.0.0.1:18310") == "hello\n"
    assert is_asleep(record["anchor"]), "frames are scrun-network's alone"
    os.kill(helper, signal.SIGKILL)
    wait_until(
        lambda: [pid for pid in helpers() if parent(pid) == record["anchor"] and pid != helper], "another is there"
    )
    assert fetched("127.0.0.1:18310") == "hello\n"
    wait_asleep(record)
    assert main_engine.call("exec", name, "echo", "in").ok().stdout == "in\n"
    main_engine.call("kill", name).ok()
    assert main_engine.exit_code(name) == 137


def in_container(one: Container) -> None:
    done = one.runtime.run("exec", one.id, "sh", "-c", "echo in; exit 5")
    assert (done.status, done.stdout) == (5, "in\n")


def processes(one: Container) -> None:
    assert "sleep" in one.call("ps").ok().stdout


def pause_and_resume(one: Container) -> None:
    one.call("pause").ok()
    wait_asleep(one.record)
    assert one.status() == "paused"
    one.call("resume").ok()
    assert one.status() == "running"


def statistics(one: Container) -> None:
    assert "cpu" in one.call("events", options=("--stats",)).ok().stdout


def test_a_call_wakes_a_sleeping_container(container: MakeContainer) -> None:
    calls = (in_container, processes, pause_and_resume, statistics)
    for one, call in zip(all_asleep([container(*TELLS).started() for _ in calls]), calls, strict=True):
        wait_asleep(one.record)
        call(one)
        one.call("kill", "TERM").ok()
        one.wait_for_output(b"term\n")
        one.call("delete", "--force").ok()
        assert one.ended() == 137, call.__name__


def test_input_and_output_of_a_sleeping_container(container: MakeContainer, alice: User) -> None:
    reader, writer = os.pipe()
    os.fchown(reader, alice.uid, -1)  # another user's pipe is read by a child, and the anchor stays awake
    with os.fdopen(reader, "rb") as stdin:
        one = container(*ECHOES).started(stdin=stdin)
    fall_asleep(one)
    os.write(writer, b"first\n")
    one.wait_for_output(b"got first\n")
    wait_asleep(one.record)
    os.write(writer, b"second\n")
    one.wait_for_output(b"got second\n")
    os.close(writer)
    assert one.ended() == 4
    assert one.output == b"ready\ngot first\ngot second\nend\n"


def test_output_after_a_sleep_reaches_the_logs(podman: Engine) -> None:
    box = podman.detached(
        "sh", "-c", "echo ready; sleep 25; while echo more; do sleep 0.1; done; exit 3", ready="ready"
    )
    record = of_engine(podman, box)
    wait_asleep(record)
    wait_until(lambda: "more" in podman.call("logs", box).ok().stdout, "it goes on")
    podman.call("kill", box).ok()
    assert podman.exit_code(box) == 137


def test_the_window_of_a_sleeping_container_resizes(container: MakeContainer, directory: Path) -> None:
    script = "trap 'stty size' WINCH; stty raw -echo; echo ready; while :; do sleep 0.1; done"
    with console.listening(directory / "console") as receiver:
        one = container("sh", "-c", script, terminal=True).created("--console-socket", str(receiver.path))
        master = receiver.accept()
        one.call("start").ok()
        read_until(master, b"ready")
        wait_asleep(one.record)
        for rows in (33, 44):
            console.resize(master, rows, 99)
            read_until(master, b"%d 99" % rows)
            if rows == 33:
                wait_asleep(one.record)
        one.call("delete", "--force").ok()


@pytest.mark.parametrize("who", ["anchor", "pid"])
def test_a_killed_process_ends_a_sleeping_containers_job(container: MakeContainer, who: str) -> None:
    networks = (None, new_network)
    for one in all_asleep([container(*STUBBORN, change=change).started() for change in networks]):
        record = one.record
        processes = {record["pid"], record["anchor"], *descendants(record["anchor"]), *descendants(record["pid"])}
        os.kill(record[who], signal.SIGKILL)
        one.wait_for("stopped")
        wait_until(lambda job=record["job"]: job not in slurm.jobs(), "its job has gone")  # type: ignore[misc]
        wait_until(lambda all_=processes: not any(map(is_running, all_)), "its processes have gone")  # type: ignore[misc]
        assert one.ended() == (-9 if who == "pid" else 137)


@pytest.mark.parametrize("who", ["anchor", "pid"])
def test_killing_a_waking_process_ends_the_job(container: MakeContainer, who: str) -> None:
    for number, one in enumerate(all_asleep([container(*STUBBORN).started() for _ in range(4)])):
        wait_asleep(one.record)
        kill_while_waking(one, who, number)


def kill_while_waking(one: Container, who: str, number: int) -> None:
    record = one.record
    if who == "anchor":
        os.kill(record["pid"], signal.SIGHUP)  # which the anchor wakes up for
    else:
        os.kill(record["anchor"], signal.SIGKILL)
    time.sleep(random.Random(number).uniform(0.001, 0.06))
    try:
        os.kill(record[who], signal.SIGKILL)
    except ProcessLookupError:
        assert who == "pid"  # it was quick
    one.wait_for("stopped")
    one.call("delete").ok()
    wait_until(lambda: record["job"] not in slurm.jobs(), "its job has gone")
    wait_until(lambda: not any(is_running(record[name]) for name in ("pid", "anchor", "step_pid")), "its processes go")


def test_killing_srun_ends_a_sleeping_container(container: MakeContainer) -> None:
    one = fall_asleep(container(*STUBBORN).started())
    os.kill(one.record["step_pid"], signal.SIGKILL)
    assert one.ended() == 137


def test_a_container_whose_job_is_cancelled_ends_asleep(container: MakeContainer) -> None:
    one = fall_asleep(container("sh", "-c", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.1; done").started())
    slurm.cancel(one.record["job"])
    assert one.ended() in (42, 143)


def test_a_directory_that_is_removed_wakes_the_anchor(container: MakeContainer) -> None:
    one = fall_asleep(container(*STUBBORN).started())
    record = one.record
    shutil.rmtree(one.path)
    wait_until(lambda: record["job"] not in slurm.jobs(), "its job has gone")
    assert b"was removed, so that nobody could find the container any more" in one.errors


@pytest.mark.parametrize("name", ["podman", "docker"])
def test_an_engine_ends_a_container_that_sleeps(name: str, request: pytest.FixtureRequest) -> None:
    engine: Engine = request.getfixturevalue(name)
    box = engine.detached(*TELLS)
    wait_asleep(of_engine(engine, box))
    engine.call("kill", "--signal", "HUP", box).ok()
    assert engine.exit_code(box) == 9
    assert "hup" in engine.call("logs", box).ok().stdout


def test_podman_top_of_a_sleeping_container_says_where(podman: Engine) -> None:
    box = podman.detached("sleep", "1000")
    wait_asleep(of_engine(podman, box))
    for options in ((), ("-o", "pid,comm,args")):
        _, row = podman.call("top", box, *options).ok().stdout.splitlines()
        assert f"scrun ps {podman.inspect(box)['Id']}" in row
        assert "on-a-slurm-node" in row or not options
