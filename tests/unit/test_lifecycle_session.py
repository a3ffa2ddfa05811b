"""exec: who waits for a further process hears of it when it runs, or why it could not be run; once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_lifecycle_exec import RECORD
from unchecked import anything

from scrun.errors import NodeRuntimeError
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.exec import exec_script, session
from scrun.lifecycle.process import wire
from scrun.lifecycle.process.loop import Loop

Message = dict[str, Any]
STARTED = (
    'echo "srun: launching StepId=42.4 on host node1, 1 tasks: 0" >&2; echo "srun: Node node1, 1 tasks started" >&2'
)


@pytest.fixture
def told(
    container: Container, script: Callable[..., str], fork: Callable[..., int], tmp_path: Path
) -> Callable[..., tuple[Message, Message]]:
    """Run a session whose process's step, and the step that watches it, are these scripts: what the caller is told,
    and the stand-in."""

    def tell(process: str, watch: str = "") -> tuple[Message, Message]:
        both = f'case "$*" in *--quiet*) {watch or "exit 0"} ;; esac\n{process}'  # srun of a step beside it is quiet
        container.record.update(RECORD | {"srun": [script(f"cd {tmp_path}\n{both}")]})
        order: Any = {
            "token": "t",
            "node": "node1",
            "environment": {"PATH": os.defpath, exec_script.PROCESS: "{}"},
            "watch": bool(watch),
            "terminal": False,
            "own_terminal": False,
        }
        (stand_in, to_stand_in), (caller, to_caller) = wire.pair(), wire.pair()

        def be_it() -> None:
            loop = Loop()
            session.Session(loop, container, order, stdio=[0, 1, 2], stand_in=to_stand_in, caller=to_caller)
            loop.run()

        fork(be_it)
        os.close(to_stand_in)
        os.close(to_caller)
        (said,) = _all(caller)
        (tmp_path / "told").touch()
        step, end = _all(stand_in)
        assert step["do"] == "step"
        return said, end

    return tell


def _all(channel: int) -> list[Message]:
    reader, found = wire.Reader(channel), []
    while message := reader.next(anything):
        found.append(message)
    os.close(channel)
    return found


Told = Callable[..., tuple[Message, Message]]
REFUSED = "exec failed: no such file"
# What watches says why only when the step, whose script it is that calls the node's runtime, has started.
UNTIL_STARTED = "timeout 30 sh -c 'until [ -e started ]; do sleep 0.01; done'"
WATCH_REFUSED = f"{UNTIL_STARTED}; echo {REFUSED}; exit {exec_script.NOT_RUN}"


def test_a_refused_process_is_not_told_as_started(told: Told) -> None:
    said, end = told(f"{STARTED}; : >started; exit 1", WATCH_REFUSED)
    assert said == wire.failure(NodeRuntimeError(REFUSED))
    assert end == said


def test_a_slow_step_is_watched_again(told: Told) -> None:
    again = f"[ -e once ] || {{ : >once; exit {exec_script.NOT_SEEN}; }}; : >again; {WATCH_REFUSED}"
    wait = "timeout 30 sh -c 'until [ -e again ]; do sleep 0.01; done'"
    said, end = told(f"{wait}; {STARTED}; : >started; exit 1", again)
    assert said == end == wire.failure(NodeRuntimeError(REFUSED))


def test_a_process_that_has_ended_before_it_was_seen_has_run(told: Told) -> None:
    watch = f"timeout 30 sh -c 'until [ -e ended ]; do sleep 0.01; done'; exit {exec_script.NOT_SEEN}"
    said, end = told(f"{STARTED}; : >ended; exit 7", watch)
    assert (said, end) == ({"started": True}, {"do": "exit", "status": 7})


def test_a_process_that_is_watched_has_started_when_the_node_says_so(told: Told) -> None:
    said, end = told(f"{STARTED}; exit 7", "exit 0")
    assert (said, end) == ({"started": True}, {"do": "exit", "status": 7})


def test_a_visible_process_has_started_with_its_step(told: Told) -> None:
    said, end = told(f"{STARTED}; timeout 30 sh -c 'until [ -e told ]; do sleep 0.01; done'; exit 7")
    assert (said, end) == ({"started": True}, {"do": "exit", "status": 7})


def test_a_step_that_fails_is_told_at_once(told: Told) -> None:
    watch = "timeout 30 sh -c 'until [ -e told ]; do sleep 0.01; done'; exit 0"
    said, end = told("echo 'srun: error: Node node1 is down' >&2; exit 1", watch)
    assert said["error"] == "SlurmError"
    assert said["message"].endswith("did not start: Node node1 is down")
    assert end == said
