"""ps: which lines of a ps(1) are shown, and of several nodes as one table."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_agent import SteppedLoop
from played_node import PlayedAnchor

from scrun.errors import NodeRuntimeError, UsageError, WrongStatus
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.operations import ps

PRINTED = [
    "UID          PID    PPID CMD",
    "alice         12       1 sleep 13",
    "bob           13       1 sleep 12",
    "alice        112       1 sleep",
]


def test_only_lines_of_our_processes_are_chosen() -> None:
    assert ps.choose(PRINTED, {"12"}) == PRINTED[:2]
    assert ps.choose(PRINTED, {"112", "12"}) == [*PRINTED[:2], PRINTED[3]]


def test_without_a_process_there_is_the_header() -> None:
    assert ps.choose(PRINTED, set()) == PRINTED[:1]


def test_a_line_that_is_short_is_nobodys() -> None:
    assert ps.choose(["A PID", "x", "", "x 12"], {"12", "x"}) == ["A PID", "x 12"]


@pytest.mark.parametrize("printed", [[], ["USER CMD", "alice sleep"], ["SPID CMD"]])
def test_options_without_a_column_pid_are_refused(printed: list[str]) -> None:
    with pytest.raises(UsageError, match="ps prints no column PID with these options: add -o pid"):
        ps.choose(printed, {"12"})


def test_one_nodes_table_is_as_ps_prints_it() -> None:
    assert ps.join({"n1": ["PID CMD", " 12 sleep"]}) == ["PID CMD", " 12 sleep"]


def test_of_several_nodes_each_row_says_its_node() -> None:
    tables = {"n1": ["PID CMD", " 12 a"], "node20": ["PID CMD", " 12 b", " 13 c"]}
    assert ps.join(tables) == ["NODE   PID CMD", "n1      12 a", "node20  12 b", "node20  13 c"]


def test_a_container_being_started_is_waited_for(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    container.record.update({"status": "running", "nodes": "n1"})
    container.save()

    def begin(_seconds: float) -> None:
        container.record["step"] = "0"
        container.save()

    monkeypatch.setattr(ps.time, "sleep", begin)  # type: ignore[attr-defined]
    with pytest.raises(NodeRuntimeError, match="is not running any more"):  # nobody serves its socket
        ps.pids(container)


def test_a_start_is_not_waited_for_for_ever(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    container.record.update({"status": "running", "nodes": "n1"})
    container.save()
    monkeypatch.setattr(ps, "STARTING", 0.0)
    with pytest.raises(WrongStatus, match="container 'box' has no processes yet: it is starting"):
        ps.pids(container)


@pytest.mark.parametrize("now", ["creating", "created", "stopped"])
def test_only_what_runs_has_processes(now: str, container: Container) -> None:
    container.record["status"] = now
    for listing in (lambda: ps.pids(container), lambda: ps.table(container, ())):
        with pytest.raises(
            WrongStatus, match=f"cannot list the processes of container 'box': container not running: it is {now}"
        ):
            listing()


def test_engines_are_told_what_to_use_instead() -> None:
    with pytest.raises(NodeRuntimeError, match="use docker exec CONTAINER ps, or scrun ps"):
        ps.refuse_engine()


@pytest.fixture
def anchor(stepped: SteppedLoop, container: Container) -> Iterator[PlayedAnchor]:
    """A container on a node that runs commands here."""
    made = PlayedAnchor(stepped, container)
    yield made
    made.close()


@pytest.fixture
def sleeping() -> Iterator[int]:
    """The pid of a process that sleeps."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process.pid
        process.kill()


def on_this_machine(members: str, **environment: str) -> Callable[[list[str]], tuple[int, str]]:
    def run(words: list[str]) -> tuple[int, str]:
        if words == ["@members"]:
            return 0, members
        done = subprocess.run(words, env=environment or None, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


def test_the_pids_of_all_nodes_are_listed(anchor: PlayedAnchor) -> None:
    anchor.record["tasks"] = 2
    anchor.running()
    anchor.ready("n2")
    for node, pids in zip(anchor.played, ("7 12", "5"), strict=True):
        node.run = on_this_machine(pids)
    assert sorted(anchor.call(ps.pids, anchor.container)) == [5, 7, 12]


def test_the_nodes_ps_shows_the_containers_processes_alone(anchor: PlayedAnchor, sleeping: int) -> None:
    anchor.running().run = on_this_machine(str(sleeping), PATH=os.defpath)
    header, *rows = anchor.call(ps.table, anchor.container, ("-eo", "pid,args")).splitlines()
    assert header.split() == ["PID", "COMMAND"]
    assert [row.split() for row in rows] == [[str(sleeping), "sleep", "1000"]]


def test_a_long_table_comes_in_pieces(anchor: PlayedAnchor) -> None:
    others = "".join(f"{pid} {'x' * 1000}\n" for pid in range(100, 300))
    printed = f"7\nPID COMMAND\n{others}7 sh\n"
    anchor.running().run = lambda words: (0, "7" if words == ["@members"] else printed)
    assert anchor.call(ps.table, anchor.container, ("-eo", "pid,args")) == "PID COMMAND\n7 sh\n"


def test_a_node_without_ps_reads_proc(anchor: PlayedAnchor, sleeping: int, tmp_path: Path) -> None:
    for program in ("tr", "cat"):
        path = shutil.which(program)
        assert path
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / program).symlink_to(path)
    anchor.running().run = on_this_machine(f"{sleeping} 4194304", PATH=str(tmp_path / "bin"))
    header, *rows = anchor.call(ps.table, anchor.container, ()).splitlines()
    assert header.split() == ["PID", "PPID", "S", "CMD"]
    assert [row.split() for row in rows] == [[str(sleeping), str(os.getpid()), "S", "sleep", "1000"]]


def test_options_unknown_to_a_nodes_ps_are_refused(anchor: PlayedAnchor) -> None:
    anchor.running().run = on_this_machine("1", PATH=os.defpath)
    with pytest.raises(UsageError, match=r"^ps on node n1: "):
        anchor.call(ps.table, anchor.container, ("--nosuch",))


def test_a_queued_container_has_no_processes_yet(container: Container) -> None:
    container.record.update({"status": "running", "job": 7})
    container.save()
    with pytest.raises(WrongStatus, match="container 'box' has no processes yet: its job 7 is queued"):
        ps.pids(container)
