"""Signals that reach a call of scrun itself: Ctrl-C pressed twice and timeout(1) send them to an engine's group."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from . import slurm
from .conftest import MakeContainer
from .engines import Engine
from .processes import descendants, is_running
from .waiting import PATIENCE, read_until, wait_until

pytestmark = pytest.mark.slurm_only("is done before a second signal comes")

SENT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
TRAP = "trap 'exit 9' INT; echo ready; while :; do sleep 0.1; done"
HEARS_ALL = f'for one in HUP INT QUIT TERM; do trap "echo $one" $one; done; {TRAP.replace("INT", "USR1")}'


def blocks(pid: int) -> bool:
    """Whether that process keeps SIGINT waiting."""
    try:
        masks = Path(f"/proc/{pid}/status").read_text().partition("SigBlk:")[2].split()
    except OSError:
        return False
    return bool(masks) and bool(int(masks[0], 16) & 1 << signal.SIGINT - 1)


def waits_for_its_answer(pid: int) -> bool:
    """Whether a call keeps signals waiting and has sent the anchor its request."""
    return blocks(pid) and any("socket:" in link for link in links(pid))


def links(pid: int) -> list[str]:
    """What a process has open."""
    try:
        return [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return []


@pytest.mark.parametrize(("verb", "words"), [("start", ()), ("kill", ("INT",))])
def test_a_second_signal_does_not_end_a_call(container: MakeContainer, verb: str, words: tuple[str, ...]) -> None:
    one = container("sh", "-c", TRAP).created()
    if verb == "kill":
        one.call("start").ok()
        one.wait_for_output(b"ready\n")
    anchor = one.record["anchor"]
    os.kill(anchor, signal.SIGSTOP)  # it is slow to answer
    calling = one.runtime.user.start(*one.runtime.argv(verb, one.id, *words))
    wait_until(lambda: waits_for_its_answer(calling.pid), "the call waits for its answer")
    for number in SENT:
        os.killpg(calling.pid, number)
    os.kill(anchor, signal.SIGCONT)
    assert calling.wait(PATIENCE) == 0
    one.wait_for_output(b"ready\n")
    if verb == "start":
        one.call("kill", "INT").ok()
    assert one.ended() == 9


def test_two_signals_to_podmans_group_leave_nothing(podman: Engine) -> None:
    words = podman.words("--rm", command=("sh", "-c", HEARS_ALL))
    running = podman.user.start("podman", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout
    output = running.stdout.fileno()
    read_until(output, b"ready\n")
    slurm.on_nodes("pkill -STOP -x scrun-node; :")  # so that a signal takes its time
    os.killpg(running.pid, signal.SIGINT)
    kill = wait_until(lambda: calls_of_kill(running.pid), "podman has scrun kill called")
    for number in SENT:
        os.killpg(running.pid, number)
    assert is_running(kill[0])
    slurm.on_nodes("pkill -CONT -x scrun-node; :")
    heard = b""
    while {*heard.split()} != {b"HUP", b"INT", b"QUIT", b"TERM"}:  # a shell runs the trap once for two SIGINT in a row
        heard += read_until(output, b"\n")
    running.send_signal(signal.SIGUSR1)
    _, errors = running.communicate(timeout=PATIENCE)
    assert running.returncode == 9, errors
    wait_until(lambda: podman.call("container", "exists", podman.made[0]).status == 1, "podman has removed it")


def calls_of_kill(pid: int) -> list[int]:
    """The calls of scrun kill below a process that keep signals waiting."""
    return [child for child in descendants(pid) if waits_for_its_answer(child) and is_call_of_kill(child)]


def is_call_of_kill(pid: int) -> bool:
    """Whether a process is scrun kill."""
    try:
        return b"\0kill\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
