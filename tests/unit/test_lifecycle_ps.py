"""ps: which lines of a ps(1) are shown, and of several nodes as one table."""

from __future__ import annotations

import pytest

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


def test_the_table_of_one_node_is_as_ps_prints_it() -> None:
    assert ps.join({"n1": ["PID CMD", " 12 sleep"]}) == ["PID CMD", " 12 sleep"]


def test_of_several_nodes_each_row_says_its_node() -> None:
    tables = {"n1": ["PID CMD", " 12 a"], "node20": ["PID CMD", " 12 b", " 13 c"]}
    assert ps.join(tables) == ["NODE   PID CMD", "n1      12 a", "node20  12 b", "node20  13 c"]


@pytest.mark.parametrize("now", ["creating", "created", "stopped"])
def test_only_what_runs_has_processes(now: str, container: Container) -> None:
    container.record["status"] = now
    for listing in (lambda: ps.pids(container), lambda: ps.table(container, ())):
        with pytest.raises(
            WrongStatus, match=f"cannot list the processes of container 'box': container not running: it is {now}"
        ):
            listing()


def test_what_an_engine_is_told_says_what_to_use_instead() -> None:
    with pytest.raises(NodeRuntimeError, match="use docker exec CONTAINER ps, or scrun ps"):
        ps.refuse_engine()
