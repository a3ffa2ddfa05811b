"""kill: the names of signals, and the script that has the node's runtime send them."""

from __future__ import annotations

import os
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
        *[(each.name, each.value) for each in signal.Signals],
    ],
)
def test_a_signal_is_known_by_its_number_or_name(name: str, number: int) -> None:
    assert kill.signal_number(name) == number
    assert type(kill.signal_number(name)) is int


@pytest.mark.parametrize(
    "name", ["", "NOSUCH", "SIG", "65", "999999", "-9", "9.5", " 9", "_DFL", "SIG_DFL", "SIGNAL", "SIGSIGTERM", "²"]
)
def test_what_is_no_signal_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(UsageError, match=f"unknown signal {name!r}"):
        kill.signal_number(name)


RUNTIME = {"command": "crun --root=/run/user/%U/", "name": "%n.%u.%j.%s.%t"}
RECORD: dict[str, Any] = {"job": 42, "step": "3", "user": "alice", "uid": 2000, "tasks": 1, "runtime": RUNTIME}


def _on_a_node(script: str, runtime: Callable[..., str], text: str) -> tuple[int, list[str]]:
    """Run a node's script with a fake runtime, whose calls it writes to a file beside it."""
    path = runtime(f'echo "$*" >>$0.calls\n{text}', "crun")
    environment = {"PATH": f"{os.path.dirname(path)}:{os.defpath}", "SLURMD_NODENAME": "node1"}
    done = subprocess.run(["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, check=False)
    with open(f"{path}.calls") as calls:
        return done.returncode, calls.read().splitlines()


def test_the_signal_goes_to_the_container_by_its_name_on_the_node(script: Callable[..., str]) -> None:
    code, calls = _on_a_node(kill.node_script(RECORD, 10), script, "")
    assert (code, calls) == (0, ["--root=/run/user/2000/ kill node1.alice.42.3.0 10"])


def test_it_goes_to_each_of_a_jobs_tasks_and_is_sent_when_one_of_them_took_it(script: Callable[..., str]) -> None:
    code, calls = _on_a_node(kill.node_script(RECORD | {"tasks": 3}, 15), script, "case $3 in *.1) ;; *) exit 1; esac")
    assert code == 0
    assert [call.split()[2] for call in calls] == [f"node1.alice.42.3.{task}" for task in range(3)]


def test_a_container_that_the_node_does_not_know_yet_is_asked_for_again(script: Callable[..., str]) -> None:
    code, calls = _on_a_node(kill.node_script(RECORD, 15), script, "test $(wc -l <$0.calls) -gt 2")
    assert (code, len(calls)) == (0, 3)


@pytest.mark.parametrize("runtime", [{"why": "oci.conf names none"}, {"command": "crun", "name": "%n.%p"}])
def test_an_oci_conf_that_does_not_say_how_is_an_error(runtime: dict[str, str]) -> None:
    # %p is the pid on the node: nobody knows it here.
    with pytest.raises(NodeRuntimeError, match=r"oci\.conf"):
        kill.node_script(RECORD | {"runtime": runtime}, 15)


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
