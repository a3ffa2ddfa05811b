"""kill: the names of signals, and the script that has the node's runtime send them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from scrun.errors import NodeRuntimeError, UsageError, WrongStatus
from scrun.lifecycle import kill
from scrun.lifecycle.container import Container


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
    ],
)
def test_what_is_no_signal_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"unknown signal {name!r}")):
        kill.signal_number(name)


RUNTIME = {"command": "crun --root=/run/user/%U/", "name": "%n.%u.%j.%s.%t"}
RECORD: dict[str, Any] = {"job": 42, "step": "3", "user": "alice", "uid": 2000, "tasks": 1, "runtime": RUNTIME}


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
    code, calls, _ = _on_a_node(kill.node_script(RECORD, 10, ONE), script, "")
    assert (code, calls) == (0, ["--root=/run/user/2000/ kill node1.alice.42.3.0 10"])


@pytest.mark.parametrize(("node", "tasks"), [("node1", [0, 2]), ("node2", [0]), ("node3", [0, 2])])
def test_each_node_sends_it_to_its_own_tasks(node: str, tasks: list[int], script: Callable[..., str]) -> None:
    code, calls, _ = _on_a_node(kill.node_script(RECORD, 15, MANY), script, "", node)
    assert (code, [call.split()[2] for call in calls]) == (0, [f"{node}.alice.42.3.{task}" for task in tasks])


def test_a_container_that_the_node_does_not_know_yet_is_asked_for_again(script: Callable[..., str]) -> None:
    code, calls, _ = _on_a_node(kill.node_script(RECORD, 15, ONE), script, "test $(wc -l <$0.calls) -gt 2")
    assert (code, len(calls)) == (0, 3)


def test_what_one_task_did_not_get_is_not_sent_again_to_those_that_did(script: Callable[..., str]) -> None:
    text = "case $3 in *.2) [ $(grep -c 3.2 $0.calls) = 3 ] ;; esac"
    code, calls, _ = _on_a_node(kill.node_script(RECORD, 15, MANY), script, text)
    assert (code, [call.split()[2][-1] for call in calls]) == (0, ["0", "2", "2", "2"])


def test_a_task_that_can_not_be_reached_makes_it_fail_and_is_named(script: Callable[..., str]) -> None:
    text = "case $3 in *.2) echo no such container >&2; exit 1 ;; esac"
    code, calls, said = _on_a_node(kill.node_script(RECORD, 15, MANY, tries=2), script, text)
    assert (code, len(calls)) == (1, 3)
    assert said == "scrun-missed node1 2\nnode1: no such container\n"


def test_a_thousand_nodes_with_as_many_tasks_each_fit_into_an_argument() -> None:
    tasks = {f"node{number:04}": [*range(128)] for number in range(4096)}
    assert len(kill.node_script(RECORD, 15, tasks)) < 128 * 1024  # execve(2), MAX_ARG_STRLEN


@pytest.mark.parametrize("runtime", [{"why": "oci.conf names none"}, {"command": "crun", "name": "%n.%p"}])
def test_an_oci_conf_that_does_not_say_how_is_an_error(runtime: dict[str, str]) -> None:
    # %p is the pid on the node: nobody knows it here.
    with pytest.raises(NodeRuntimeError, match=r"oci\.conf"):
        kill.node_script(RECORD | {"runtime": runtime}, 15, ONE)


@pytest.mark.parametrize("written", ["creating", "stopped"])
def test_a_container_that_does_not_run_gets_no_signal_in_dockers_words(written: str, container: Container) -> None:
    container.record["status"] = written
    with pytest.raises(WrongStatus, match=f"'box': container not running: it is {written}"):
        kill.run(container, 15)


@pytest.mark.parametrize("written", ["created", "running", "paused"])
def test_without_an_anchor_there_is_nobody_to_send_it(written: str, container: Container) -> None:
    container.record["status"] = written
    with pytest.raises(WrongStatus, match="container not running: its anchor is gone"):
        kill.run(container, 15)
