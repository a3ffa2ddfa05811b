"""kill: the names of signals, and the script that has the node's runtime send them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scrun import marks
from scrun.errors import NodeRuntimeError, UsageError, WrongStatus
from scrun.lifecycle.anchor import signals
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.node import signal_script
from scrun.lifecycle.operations import kill
from scrun.lifecycle.process.loop import Loop
from scrun.slurm import srun


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *[("0", 0), ("9", 9), ("15", 15), ("64", 64), ("TERM", 15), ("SIGTERM", 15), ("term", 15), ("sigterm", 15)],
        *[("KILL", 9), ("USR1", 10), ("SIGWINCH", 28), ("RTMIN", 34), ("SIGRTMAX", 64)],
        *[("RTMIN+3", 37), ("SIGRTMIN+30", 64), ("rtmax-2", 62), ("SIGRTMAX-0", 64)],
        *[(each.name, each.value) for each in signal.Signals],
    ],
)
def test_a_signal_is_known_by_its_number_or_name(name: str, number: int) -> None:
    assert kill.signal_number(name) == number
    assert type(kill.signal_number(name)) is int


@pytest.mark.parametrize(
    "name",
    [
        *("RTMIN+31", "RTMAX-31", "RTMIN-1", "RTMAX+1", "RTMIN+", "RTMAX-", "RTMIN+x", "RTMIN+-1", "RTMINX", "SIG9"),
        *("", "NOSUCH", "SIG", "65", "999999", "-9", "9.5", " 9", "_DFL", "SIG_DFL", "SIGNAL", "SIGSIGTERM", "²"),
        "9" * 5000,
    ],
)
def test_what_is_no_signal_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"unknown signal {name!r}")):
        kill.signal_number(name)


RUNTIME = {"command": "crun --root=/run/user/%U/", "name": "%n.%u.%j.%s.%t"}
RECORD: Any = {"job": 42, "step": "3", "user": "alice", "uid": 2000, "tasks": 1, "runtime": RUNTIME}


def _on_a_node(script: str, runtime: Callable[..., str], text: str, node: str = "node1") -> tuple[int, list[str], str]:
    """Run a node's script with a fake runtime, whose calls it writes to a file beside it."""
    path = runtime(f'echo "$*" >>$0.calls\n{text}', "crun")
    environment = {"PATH": f"{os.path.dirname(path)}:{os.defpath}", "SLURMD_NODENAME": node}
    done = subprocess.run(["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, check=False)
    with open(f"{path}.calls") as calls:
        return done.returncode, calls.read().splitlines(), done.stdout


ONE = {"node1": [0]}
MANY = {"node1": [0, 2], "node2": [0], "node3": [0, 2]}


def test_the_signal_goes_to_the_container_by_its_name_on_the_node(script: Callable[..., str]) -> None:
    code, calls, _ = _on_a_node(signal_script.script(RECORD, 10, ONE), script, "")
    assert (code, calls) == (0, ["--root=/run/user/2000/ kill node1.alice.42.3.0 10"])


@pytest.mark.parametrize(("node", "tasks"), [("node1", [0, 2]), ("node2", [0]), ("node3", [0, 2])])
def test_each_node_sends_it_to_its_own_tasks(node: str, tasks: list[int], script: Callable[..., str]) -> None:
    code, calls, _ = _on_a_node(signal_script.script(RECORD, 15, MANY), script, "", node)
    assert (code, [call.split()[2] for call in calls]) == (0, [f"{node}.alice.42.3.{task}" for task in tasks])


def test_an_unknown_container_is_tried_again(script: Callable[..., str]) -> None:
    code, calls, _ = _on_a_node(signal_script.script(RECORD, 15, ONE), script, "test $(wc -l <$0.calls) -gt 2")
    assert (code, len(calls)) == (0, 3)


def test_only_the_missed_task_is_signalled_again(script: Callable[..., str]) -> None:
    text = "case $3 in *.2) [ $(grep -c 3.2 $0.calls) = 3 ] ;; esac"
    code, calls, _ = _on_a_node(signal_script.script(RECORD, 15, MANY), script, text)
    assert (code, [call.split()[2][-1] for call in calls]) == (0, ["0", "2", "2", "2"])


def test_a_task_out_of_reach_is_named(script: Callable[..., str]) -> None:
    text = "case $3 in *.2) echo no such container >&2; exit 1 ;; esac"
    code, calls, said = _on_a_node(marks.SAY + signal_script.script(RECORD, 15, MANY, tries=2), script, text)
    assert (code, len(calls)) == (1, 3)
    assert [*marks.texts(said.encode())] == ["missed node1 2", "why node1: no such container"]


def test_a_thousand_nodes_with_as_many_tasks_each_fit_into_an_argument() -> None:
    tasks = {f"node{number:04}": [*range(128)] for number in range(4096)}
    assert len(signal_script.script(RECORD, 15, tasks)) < 128 * 1024  # execve(2), MAX_ARG_STRLEN


@pytest.mark.parametrize("runtime", [{"why": "oci.conf names none"}, {"command": "crun", "name": "%n.%p"}])
def test_an_oci_conf_that_does_not_say_how_is_an_error(runtime: dict[str, str]) -> None:
    # %p is the pid on the node: nobody knows it here.
    with pytest.raises(NodeRuntimeError, match=r"oci\.conf"):
        signal_script.script(RECORD | {"runtime": runtime}, 15, ONE)


@pytest.mark.parametrize("written", ["creating", "stopped"])
def test_a_container_that_does_not_run_gets_no_signal_in_dockers_words(written: str, container: Container) -> None:
    container.record["status"] = written
    with pytest.raises(WrongStatus, match=f"'box': container not running: it is {written}"):
        kill.send_signal(container, 15)


def test_a_signal_for_all_processes_of_one_that_has_ended_is_sent(container: Container) -> None:
    container.record["status"] = "stopped"
    container.save()
    kill.send_signal(container, 0, is_for_all=True)
    container.record["status"] = "creating"
    container.save()
    with pytest.raises(WrongStatus, match="it is creating"):
        kill.send_signal(container, 0, is_for_all=True)


@pytest.mark.parametrize("written", ["created", "running", "paused"])
def test_without_an_anchor_there_is_nobody_to_send_it(written: str, container: Container) -> None:
    container.record["status"] = written
    with pytest.raises(WrongStatus, match="container not running: its anchor is gone"):
        kill.send_signal(container, 15)


# --- the anchor's side


class FakeStep:
    """A container's step of one task on one node, which has started; it notes that it is to be ended."""

    def __init__(self, loop: Loop) -> None:
        self.progress = srun.Progress()
        self.progress.line("srun: launching StepId=42.3 on host node1, 1 tasks: 0")
        self.progress.line("srun: Node node1, 1 tasks started")
        self.ends = 0
        self._loop = loop

    def end_task(self) -> None:
        self.progress.line("srun: node1: task 0: Completed")

    def terminate(self, _grace: float | None = None) -> None:
        self.ends += 1
        self._loop.stop()


class FakeAnchor:
    """What kill needs of an anchor. Its srun runs the command here, with a node's runtime that knows no container."""

    def __init__(self, loop: Loop, container: Container, script: Callable[..., str], runtime: str) -> None:
        self.loop, self.container, self.status = loop, container, "running"
        self.step = FakeStep(loop)
        self.runtime = script(f'echo "$*" >>$0.calls\n{runtime}', "crun")
        run_here = script('while [ "$1" != -- ]; do shift; done; shift; SLURMD_NODENAME=node1 exec "$@"')
        self.record = container.record = RECORD | {"srun": [run_here]}
        self.plan = {"environment": {"PATH": f"{os.path.dirname(self.runtime)}:{os.defpath}"}}

    def log(self, level: str, message: str) -> None:
        pass

    def calls(self) -> list[str]:
        return Path(f"{self.runtime}.calls").read_text().splitlines()


@pytest.fixture
def anchor(loop: Loop, container: Container, script: Callable[..., str]) -> FakeAnchor:
    return FakeAnchor(loop, container, script, "echo no such process >&2; exit 1")


def test_a_slow_sigkill_goes_to_the_step(anchor: FakeAnchor) -> None:
    signals.force(anchor, anchor.step)  # type: ignore[arg-type]
    anchor.loop.run()
    assert (anchor.step.ends, len(anchor.calls())) == (1, 3), "it has another way, and doesn't try for long"


def test_a_sigkill_that_arrived_leaves_the_step_to_end_by_itself(
    until_a_child_has_gone: Loop, container: Container, script: Callable[..., str]
) -> None:
    anchor = FakeAnchor(until_a_child_has_gone, container, script, "exit 0")
    signals.force(anchor, anchor.step)  # type: ignore[arg-type]
    until_a_child_has_gone.run()
    assert (anchor.step.ends, anchor.calls()) == (0, ["--root=/run/user/2000/ kill node1.alice.42.3.0 9"])


def _send(anchor: FakeAnchor) -> list[tuple[int, str]]:
    """Send a signal once, have the task end meanwhile if it does; what came of it."""
    came: list[tuple[int, str]] = []

    def done(exit_status: int, said: str) -> None:
        came.append((exit_status, said))
        anchor.loop.stop()

    signals.send_on_node(anchor, 15, done, tries=1)  # type: ignore[arg-type]
    return came


def test_a_task_that_ended_was_not_missed(anchor: FakeAnchor) -> None:
    came = _send(anchor)
    anchor.step.end_task()
    anchor.loop.run()
    assert came == [(0, "node1: no such process")]


def test_a_task_that_still_runs_was_missed(anchor: FakeAnchor) -> None:
    came = _send(anchor)
    anchor.loop.run()
    assert came == [(1, "node1: no such process")]


def test_a_container_of_which_no_task_is_left_needs_no_signal(anchor: FakeAnchor) -> None:
    anchor.step.end_task()
    assert _send(anchor) == [(0, "it is starting")]
    assert not os.path.exists(f"{anchor.runtime}.calls")


@pytest.mark.parametrize(
    ("ended", "answer"), [("before it is heard of", {"sent": 15}), ("after that", {"sent": 15}), ("", None)]
)
def test_a_signal_after_the_end_is_no_error(
    ended: str, answer: dict[str, int] | None, anchor: FakeAnchor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "_PAUSE", 0)
    answers: list[dict[str, Any]] = []

    def take(message: dict[str, Any]) -> None:
        answers.append(message)
        anchor.loop.stop()

    signals.deliver(anchor, 15, take)  # type: ignore[arg-type]
    if ended == "before it is heard of":
        anchor.record["exit_status"] = 0
    elif ended:
        wait_for_the_end = signals._answer_at_the_end

        def end_later(*given: Any) -> None:
            if len(given) > 3:  # not at the first look
                anchor.record["exit_status"] = 0
            wait_for_the_end(*given)

        monkeypatch.setattr(signals, "_answer_at_the_end", end_later)
    anchor.loop.run()
    expected = {"error": "WrongStatus", "message": "cannot kill container 'box': container not running"}
    assert answers == [answer or expected]
