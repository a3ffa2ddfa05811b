"""list: the containers of a user, with what Slurm says of their jobs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import slurm
from .conftest import MakeContainer
from .oci import Runtime
from .users import User

pytestmark = pytest.mark.slurm_only("it knows no jobs")


def listed(runtime: Runtime, *options: str) -> dict[str, dict[str, Any]]:
    """What list -f json prints, by the ids."""
    return {entry["id"]: entry for entry in json.loads(runtime.run(*options, "list", "-f", "json").ok().output)}


def rows(runtime: Runtime, *options: str) -> dict[str, list[str]]:
    """The table's rows, cut at two blanks, by the ids."""
    _, *lines = runtime.run(*options, "list").ok().stdout.splitlines()
    return {line.split()[0]: [cell.strip() for cell in line.split("  ") if cell] for line in lines}


def test_running_container_is_listed_with_job_and_node(container: MakeContainer, runtime: Runtime) -> None:
    one = container("sleep", "1000").started(env={"SCRUN_JOB_NODELIST": "node2", "SCRUN_PARTITION": "short"})
    entry = listed(runtime)[one.id]
    assert entry.items() >= one.state().items()
    assert (entry["job"], entry["nodes"], entry["partition"]) == (one.record["job"], ["node2"], "short")
    assert (entry["exitStatus"], entry["queued"], entry["command"]) == (None, None, ["sleep", "1000"])
    row = rows(runtime)[one.id]
    assert row[:5] == [one.id, "running", str(one.record["job"]), "node2", "short"]
    assert row[6] == "sleep 1000"


def test_ended_container_is_listed_with_its_exit_status(container: MakeContainer, runtime: Runtime) -> None:
    one = container("sh", "-c", "exit 7").started()
    assert one.ended() == 7
    one.wait_for("stopped")
    entry = listed(runtime)[one.id]
    assert (entry["status"], entry["pid"], entry["exitStatus"]) == ("stopped", 0, 7)
    assert rows(runtime)[one.id][1] == "stopped (7)"


def test_what_is_queued_is_shown_with_slurms_reason(container: MakeContainer, runtime: Runtime, held_node: int) -> None:
    one = container("true").created(env={"SCRUN_JOB_NODELIST": "node2", "SCRUN_CREATE_TIMEOUT": "1"})
    one.wait_until_queued()
    entry = listed(runtime)[one.id]
    assert entry["queued"]["reason"] in ("Resources", "Priority", "None")
    assert entry["queued"]["since"].startswith("20")
    assert entry["partition"] == "debug"
    row = rows(runtime)[one.id]
    assert row[1:3] == ["created, queued", str(one.record["job"])]
    assert row[3] == f"({entry['queued']['reason']})"


def test_list_uses_its_own_records_without_slurm(
    container: MakeContainer, runtime: Runtime, slurm_conf: Callable[..., Path], held_node: int
) -> None:
    unreachable = ("-f", str(slurm_conf(SlurmctldPort="1", MessageTimeout="1")))
    running = container("sleep", "1000").started()
    assert rows(runtime, *unreachable)[running.id][3] == running.record["nodes"]
    queued = container("true").created(env={"SCRUN_JOB_NODELIST": "node2", "SCRUN_CREATE_TIMEOUT": "1"})
    queued.wait_until_queued()
    found = rows(runtime, *unreachable)  # after some seconds, and with what is known
    assert found[running.id][1] == "running"
    assert found[queued.id][3] == "(?)"


def test_quiet_are_the_ids(container: MakeContainer, runtime: Runtime) -> None:
    ids = [container("true").created().id for _ in range(2)]
    lines = runtime.run("list", "-q").ok().stdout.splitlines()
    assert [line for line in lines if line in ids] == ids[::-1]  # the youngest first


def test_damaged_record_is_listed_beside_the_others(container: MakeContainer, runtime: Runtime) -> None:
    good, bad = (container("true").created() for _ in range(2))
    record = (bad.path / "state.json").read_bytes()
    (bad.path / "state.json").write_bytes(record[:100])
    try:
        found = rows(runtime)
        assert found[bad.id][1] == "damaged"
        assert found[good.id][1] == "created"
        assert listed(runtime)[bad.id]["status"] == "damaged"
    finally:
        (bad.path / "state.json").write_bytes(record)


def test_another_users_are_not_listed(container: MakeContainer, bob: User) -> None:
    one = container("true").created()
    assert one.id not in bob.run(one.runtime.path, "list").ok().stdout
    done = bob.run(one.runtime.path, f"--root={one.runtime.root}", "list")
    assert (done.status, done.stdout) == (1, "")
    assert "can't read" in done.stderr


def test_no_job_is_left_by_looking(container: MakeContainer, runtime: Runtime) -> None:
    container("true").created()
    before = slurm.known_jobs()
    runtime.run("list").ok()
    assert slurm.known_jobs() <= before
