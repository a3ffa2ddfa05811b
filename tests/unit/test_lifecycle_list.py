"""list: what is told of each container, and the table that people read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrun.errors import ContainerNotFound
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.operations import list as listing
from scrun.lifecycle.operations import state
from scrun.lifecycle.process import processes

Make = Callable[..., Container]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def make(root: Path) -> Make:
    """Makes containers with a record: ``make("a", status="running", job=7)``."""

    def one(container_id: str, **more: Any) -> Container:
        container = Container.claim(str(root), container_id)
        container.record = {
            "status": "running",
            "bundle": "/bundle",
            "rootfs": "/bundle/rootfs",
            "created": "2026-01-02T03:04:05.000000006Z",
            "owner": "alice",
            "annotations": {},
            "environment": {},
            "pid": os.getpid(),
            "pid_started": processes.start_time(os.getpid()),
            "command": ["sleep", "1000"],
            **more,  # type: ignore[typeddict-item]
        }
        container.save()
        return container

    return one


RUNS = {
    "job": 7,
    "nodes": "node[1-2]",
    "job_environment": ["SLURM_JOB_ID=7", "SLURM_JOB_PARTITION=debug"],
    "started": "2026-01-02T03:04:06.500000000Z",
}
ENDED = {"status": "stopped", "exit_status": 7, "finished": "2026-01-02T04:04:06.500000000Z"}


def test_a_missing_or_empty_root_lists_nothing(root: Path) -> None:
    assert listing.list_containers(str(root)) == []
    root.mkdir()
    assert listing.list_containers(str(root)) == []
    assert listing.table([]).split("  ")[0] == "ID"
    assert listing.table([]).count("\n") == 1


def test_an_entry_has_state_and_job_fields(make: Make, root: Path) -> None:
    container = make("box", **RUNS, **ENDED)
    (entry,) = listing.list_containers(str(root))
    assert entry == {
        **state.state_of(container),
        "job": 7,
        "nodes": ["node1", "node2"],
        "partition": "debug",
        "queued": None,
        "suspended": False,
        "changes": "",
        "started": RUNS["started"],
        "finished": ENDED["finished"],
        "elapsed": 3600,
        "exitStatus": 7,
        "image": "",
        "command": ["sleep", "1000"],
    }


def test_a_running_container_has_elapsed_time_without_status(make: Make, root: Path) -> None:
    make("box", **RUNS)
    (entry,) = listing.list_containers(str(root))
    assert entry["exitStatus"] is None
    assert entry["elapsed"] > 0


def test_without_its_stand_in_a_container_has_stopped(make: Make, root: Path) -> None:
    make("box", **RUNS, pid_started=1)
    (entry,) = listing.list_containers(str(root))
    assert (entry["status"], entry["pid"], entry["exitStatus"], entry["elapsed"]) == ("stopped", 0, None, 0)


def test_the_youngest_comes_first(make: Make, root: Path) -> None:
    for name, second in (("b", 2), ("c", 3), ("a", 1)):
        make(name, created=f"2026-01-02T03:04:0{second}.000000006Z")
    assert [entry["id"] for entry in listing.list_containers(str(root), briefly=True)] == ["c", "b", "a"]
    assert listing.ids(str(root)) == ["c", "b", "a"]


def test_ids_are_sorted_by_the_containers_own_time(make: Make, root: Path) -> None:
    deceives = '"created": "2027'
    make("old", created="2026-01-01T00:00:00.000000006Z", bundle=deceives, annotations={deceives: deceives})
    make("new", created="2026-01-02T00:00:00.000000006Z")
    assert listing.ids(str(root)) == ["new", "old"]


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}"])
def test_a_damaged_record_is_listed_beside_the_others(damage: str, make: Make, root: Path) -> None:
    make("good", **RUNS)
    (Path(make("bad").path) / "state.json").write_text(damage)
    entries = {entry["id"]: entry for entry in listing.list_containers(str(root))}
    assert {*listing.ids(str(root))} == entries.keys()
    assert entries["bad"]["status"] == "damaged"
    assert "can't read" in entries["bad"]["error"]
    assert entries["bad"].keys() == entries["good"].keys() | {"error"}
    assert re.search(r"^bad +damaged +- +- +- +- +can't read", listing.table(list(entries.values())), re.M)


def test_what_is_no_container_is_not_listed(make: Make, root: Path) -> None:
    make("box", **RUNS)
    os.unlink(Path(make("half-made").path) / "state.json")
    (root / "file").touch()
    (root / ".hidden").mkdir()
    (root / "link").symlink_to(root / "box")
    names = [entry["id"] for entry in listing.list_containers(str(root))]
    assert "box" in names
    assert not {"half-made", ".hidden"} & {*names}
    assert {*listing.ids(str(root))} == {*names}
    assert listing.ids(str(root / "nosuch")) == []


@pytest.mark.parametrize("key", ["org.opencontainers.image.ref.name", "io.kubernetes.cri-o.ImageName"])
def test_a_named_image_replaces_the_command(key: str, make: Make, root: Path) -> None:
    make("box", **RUNS, annotations={key: "localhost/busybox"})
    entries = listing.list_containers(str(root))
    assert entries[0]["image"] == "localhost/busybox"
    assert "localhost/busybox" in listing.table(entries)
    assert "sleep" not in listing.table(entries)


def _queued(reason: str) -> Any:
    return {
        "id": "box",
        "status": "created",
        "job": 7,
        "nodes": [],
        "partition": "debug",
        "started": "",
        "queued": {"reason": reason, "since": "2026-01-02T03:04:05Z"},
        "elapsed": 61,
        "exitStatus": None,
        "changes": "",
        "image": "",
        "command": ["sh", "-c", "echo\x1b[31m\n hi"],
    }


def test_a_queued_container_shows_why_and_how_long() -> None:
    _, row = listing.table([_queued("Resources")]).splitlines()
    assert row.split("  ")[:2] == ["box", "created, queued"]
    assert " 7 " in row
    assert " (Resources) " in row
    assert " 1:01 " in row


def test_the_reason_is_unknown_without_slurms_answer() -> None:
    assert " (?) " in listing.table([_queued("")])


def test_commands_cannot_break_the_table_or_terminal() -> None:
    table = listing.table([_queued("Resources")])
    assert len(table.splitlines()) == 2
    assert "\x1b" not in table


@pytest.mark.parametrize(
    ("record", "shown"),
    [
        ({"stage_out_owed": True, "owed": {"script": "s"}}, "stopped (7), coming back  "),
        ({"lost": "it is in node1:/tmp/x"}, "stopped (7), not all is back  "),
        ({"stage_out_owed": True}, "stopped (7)  "),
    ],
    ids=["coming back", "lost", "nothing to come back"],
)
def test_a_container_without_its_files_back_is_shown(record: Any, shown: str, make: Make, root: Path) -> None:
    make("box", **RUNS, **ENDED, **record).mark("deleted")
    (entry,) = listing.list_containers(str(root))
    assert shown in listing.table([entry])
    with pytest.raises(ContainerNotFound):
        Container.open(str(root), "box")


def test_columns_are_aligned_and_lines_are_cut() -> None:
    entries = [_queued("Resources"), _queued("Priority") | {"id": "a-longer-name", "exitStatus": 7}]
    lines = listing.table(entries).splitlines()
    column = lines[0].index("JOB")
    assert [line[column] for line in lines] == ["J", "7", "7"]
    assert max(len(line) for line in listing.table(entries, 40).splitlines()) <= 40


@pytest.mark.parametrize(
    ("elapsed", "shown"),
    [(0, "0:00"), (59, "0:59"), (61, "1:01"), (3600, "1:00:00"), (90061, "1-01:01:01"), (10 * 86400, "10-00:00:00")],
)
def test_elapsed_times_are_as_squeue_has_them(elapsed: int, shown: str) -> None:
    assert listing.clock(elapsed) == shown


@given(st.integers(0, 4 * 10**9))
def test_timestamps_of_ours_are_read(second: int) -> None:
    from scrun.log import timestamp

    assert listing.seconds(timestamp(second * 10**9 + 5)) == second


def test_a_container_that_ended_early_no_longer_waits(root: Path, make: Make) -> None:
    make("a", **ENDED, job=7)
    make("b", job=8)
    queued = {one["id"]: bool(one["queued"]) for one in listing.list_containers(str(root), briefly=True)}
    assert queued == {"a": False, "b": True}
