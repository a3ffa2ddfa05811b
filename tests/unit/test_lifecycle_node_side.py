"""The anchor's side of the nodes: when a program counts as started, failed or lost, and when its output is read."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_agent import DATA, DONE, EOF, EXIT, NOTE, RESIZE, SIGNAL, START, SteppedLoop, hears
from open_files import descriptors
from played_node import Node, PlayedAnchor

from scrun.errors import ExecutableNotFound, ExecutableNotPermitted, NodeRuntimeError
from scrun.lifecycle.anchor import node_side
from scrun.lifecycle.container.directory import NODE_SOCKET, Container


@pytest.fixture
def anchor(stepped: SteppedLoop, container: Container, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedAnchor]:
    monkeypatch.setattr(node_side, "_PATIENCE", 0.05)
    made = PlayedAnchor(stepped, container)
    yield made
    made.close()


def begun(anchor: PlayedAnchor) -> Node:
    """Its step has begun, and its init waits for the start."""
    anchor.connect()
    anchor.begin()
    return anchor.ready()


def end(node: Node) -> None:
    """The container's own process ends, and everything is sent."""
    for stream in (1, 2):
        node.fake.send(EOF, stream)
    node.fake.send(EXIT, 0, struct.pack(">I", 4294967295))
    node.fake.send(DONE)


def test_it_starts_once_srun_reports_the_step(anchor: PlayedAnchor) -> None:
    anchor.connect().begin()
    node = anchor.ready()
    anchor.loop.settle()
    node.serve()
    assert node.fake.sent(START) == []
    anchor.side.step_has_begun()
    assert hears(anchor.loop, node.fake, START)
    anchor.loop.settle()
    assert anchor.events == []
    node.started()
    anchor.until(lambda: bool(anchor.events))
    anchor.loop.settle()
    assert anchor.events == ["program_started"]


def test_an_init_that_comes_later_is_started_then(anchor: PlayedAnchor) -> None:
    anchor.connect()
    anchor.begin()
    node = anchor.ready()
    assert hears(anchor.loop, node.fake, START)


def test_the_anchor_keeps_only_standard_error_after_starting(anchor: PlayedAnchor) -> None:
    anchor.record["tasks"] = 2
    anchor.connect()
    anchor.begin()
    before = [*anchor.stdio.descriptors]
    nodes = [anchor.ready("n1"), anchor.ready("n2")]
    nodes[0].started()
    anchor.until(lambda: bool(anchor.events))
    assert anchor.stdio.descriptors == before
    nodes[1].failed("x", errno.ENOENT)
    anchor.until(lambda: bool(anchor.said))
    assert anchor.stdio.descriptors == [-1, -1, before[2]]


def test_several_tasks_start_once(anchor: PlayedAnchor) -> None:
    anchor.record["tasks"] = 2
    anchor.connect()
    anchor.begin()
    nodes = [anchor.ready("n1"), anchor.ready("n2")]
    for node in nodes:
        node.started()
    anchor.until(lambda: bool(anchor.events))
    anchor.loop.settle()
    assert anchor.events == ["program_started"]


@pytest.mark.parametrize(
    ("where", "number", "text", "error", "status"),
    [
        ("x", errno.ENOENT, "", ExecutableNotFound('exec: "tool": executable file not found in $PATH'), 127),
        ("x", errno.EACCES, "", ExecutableNotPermitted('exec: "tool": permission denied'), 126),
        ("t", errno.EIO, "", NodeRuntimeError("the container's terminal can't be made: input/output error"), 125),
        ("s", errno.EMFILE, "", NodeRuntimeError("the node can't run the process: too many open files"), 125),
    ],
)
def test_a_program_failure_carries_its_exit_status(
    where: str, number: int, text: str, error: Exception, status: int, anchor: PlayedAnchor
) -> None:
    node = begun(anchor)
    node.failed(where, number, text)
    anchor.until(lambda: bool(anchor.events))
    ((event, told, exit_status),) = anchor.happened
    assert (event, type(told), str(told), exit_status) == ("program_failed", type(error), str(error), status)
    assert anchor.side.has_run, "the step's end is the program's"


def test_a_failing_task_is_told_once_others_continue(anchor: PlayedAnchor) -> None:
    anchor.record["tasks"] = 3
    anchor.connect()
    anchor.begin()
    nodes = [anchor.ready("n1"), anchor.ready("n1", 1), anchor.ready("n2")]
    for node in nodes[:2]:
        node.failed("x", errno.ENOENT)
    nodes[2].started()
    anchor.until(lambda: bool(anchor.events and anchor.said))
    anchor.loop.settle()
    assert anchor.said == ['exec: "tool": executable file not found in $PATH']
    assert anchor.events == ["program_started"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (b"", "the step ended with status 1"),
        (b"\nfirst\n  No such device\n\n", "No such device"),
        (b"\xff", "\ufffd"),
        (b"scrun-node: cannot enter /x: Permission denied\nerror executing hook", "cannot enter /x: Permission denied"),
        (b'level=error msg="hook #0: stderr: scrun-node: no room\\n"\n', "no room"),
        (
            b"scrun-node: this node cannot connect to the login host at 1.2.3.4 port 5: No route to host\n",
            "this node cannot connect to the login host at 1.2.3.4 port 5: No route to host: nodes must reach this "
            "host's ports, those of SrunPortRange where slurm.conf has it (a firewall?)",
        ),
    ],
)
def test_a_runtime_that_refuses_is_quoted(words: bytes, why: str, anchor: PlayedAnchor) -> None:
    anchor.connect().begin()
    os.write(anchor.side.words, words)
    done: list[bool] = []
    anchor.side.end(lambda: done.append(True))
    assert done == [True], "no agent came: there is nothing to wait for"
    assert not anchor.side.has_run
    said = str(anchor.side.why_not_run("the step ended with status 1"))
    assert said == f"the container's process was not run: n1: {why}"


def test_a_hook_that_has_failed_is_quoted(anchor: PlayedAnchor) -> None:
    anchor.connect().begin()
    node = anchor.ready()
    node.fake.send(NOTE, 0, b"scrun-node: nothing is mounted in the container at /dev/.scrun")
    anchor.until(lambda: anchor.logged[-1:] == ["n1: scrun-node: nothing is mounted in the container at /dev/.scrun"])
    os.write(anchor.side.words, b"error executing hook `/x/scrun-node` (exit code: 1)\n")
    said = str(anchor.side.why_not_run("the step ended with status 1"))
    assert said == "the container's process was not run: n1: nothing is mounted in the container at /dev/.scrun"


def test_a_lost_connection_is_told_with_its_node(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    node.fake.die()
    anchor.until(lambda: len(anchor.events) == 2)
    event, why = anchor.happened[-1]
    assert event == "connection_lost"
    assert why.startswith("the connection to n1 is lost: ")


def test_a_connection_that_breaks_is_waited_for(anchor: PlayedAnchor) -> None:
    from fake_agent import meet

    node = anchor.running()
    node.fake.reset()
    anchor.until(lambda: any("broke, and is waited for" in line for line in anchor.logged))
    meet(anchor.loop, anchor.side.connection, node.fake)
    anchor.until(lambda: anchor.logged[-1] == "the connection to n1 is there")
    assert anchor.events == ["program_started"]


def test_after_its_end_no_connection_is_lost(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    end(node)
    done: list[bool] = []
    anchor.side.end(lambda: done.append(True))
    anchor.until(lambda: bool(done))
    node.fake.die()
    anchor.loop.settle()
    assert anchor.events == ["program_started"]


# --- the last output


@pytest.fixture
def stuck(anchor: PlayedAnchor) -> Callable[[], bytes]:
    """A container that has ended with more output than its reader takes; what the reader then takes."""
    node = anchor.running()
    fcntl.fcntl(anchor.pipes[2], fcntl.F_SETPIPE_SZ, 4096)
    for _ in range(3):
        node.fake.send(DATA, 1, b"x" * 60000)
    end(node)
    anchor.loop.settle()

    def read() -> bytes:
        data = b""
        while len(data) < 180000 and select.select([anchor.pipes[2]], [], [], 0)[0]:
            data += os.read(anchor.pipes[2], 65536)
            anchor.loop.settle()
        return data

    return read


def test_an_ended_container_waits_for_its_reader(anchor: PlayedAnchor, stuck: Callable[[], bytes]) -> None:
    done: list[bool] = []
    anchor.side.end(lambda: done.append(True))
    for _ in range(3):
        anchor.loop.settle()
    assert done == []
    assert len(stuck()) == 180000
    assert done == [True]


def test_an_srun_killed_alone_takes_its_container_along(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    done: list[bool] = []
    anchor.side.end(lambda: done.append(True))
    sent = hears(anchor.loop, node.fake, SIGNAL)
    assert sent[0].payload[4:] == struct.pack(">IB", 9, 1)
    anchor.until(lambda: bool(done))


@pytest.mark.usefixtures("stuck")
def test_a_killed_container_waits_only_so_long(anchor: PlayedAnchor) -> None:
    done: list[bool] = []
    anchor.forced = 137
    anchor.side.end(lambda: done.append(True))
    assert done == []
    anchor.until(lambda: bool(done))
    anchor.loop.settle()
    assert done == [True]


@pytest.mark.usefixtures("stuck")
def test_a_killed_container_ends_despite_a_stuck_reader(anchor: PlayedAnchor) -> None:
    from scrun.lifecycle.anchor import signals

    done: list[bool] = []
    anchor.side.end(lambda: done.append(True))
    anchor.loop.settle()
    assert done == []
    anchor.forced = 137
    force: Any = signals.force
    force(anchor, anchor.step)
    anchor.until(lambda: bool(done))
    anchor.loop.settle()
    assert done == [True]


def test_a_reader_that_left_is_not_waited_for(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    os.close(anchor.pipes[2])
    node.fake.send(DATA, 1, b"x" * 1000)
    end(node)
    done: list[bool] = []
    anchor.side.end(lambda: done.append(True))
    anchor.until(lambda: bool(done))


# --- what it is told and has


def test_the_program_gets_its_words_and_owned_job(anchor: PlayedAnchor) -> None:
    node = begun(anchor)
    assert hears(anchor.loop, node.fake, START)
    anchor.until(lambda: node._parts.get(0) == b"tool\0x\0")
    assert "\njob 42\n" in anchor.side.settings()["settings"]
    anchor.record["job_owned"] = False
    assert "\njob " not in anchor.side.settings()["settings"]
    assert anchor.side.settings()["port"] == anchor.side.connection.port


def test_the_port_is_one_that_nodes_reach(anchor: PlayedAnchor) -> None:
    anchor.plan["ports"] = [43210, 43219]
    assert 43210 <= anchor.connect().connection.port <= 43219


def test_without_a_free_port_there_is_no_connection(anchor: PlayedAnchor) -> None:
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        anchor.plan["ports"] = [other.getsockname()[1]] * 2
        with pytest.raises(OSError, match=r"."):
            node_side.NodeSide(anchor)  # type: ignore[arg-type]


@pytest.mark.usefixtures("with_wait")
def test_a_terminal_gets_its_size_initially_and_later(anchor: PlayedAnchor) -> None:
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    anchor.plan["terminal"] = True
    anchor.stdio.descriptors = [theirs] * 3
    node = begun(anchor)
    assert hears(anchor.loop, node.fake, START)[0].payload == struct.pack(">HH", 24, 80)
    anchor.loop.settle()
    termios.tcsetwinsize(ours, (33, 99))
    anchor.until(lambda: any(frame.payload == struct.pack(">HH", 33, 99) for frame in node.fake.sent(RESIZE)))
    anchor.side.close()
    for descriptor in (ours, theirs):
        os.close(descriptor)


def test_everything_is_let_go_at_the_end(anchor: PlayedAnchor) -> None:
    before = {*descriptors()}
    anchor.running()
    anchor.side.close()
    anchor.played[0].fake.die()
    assert {*os.listdir("/proc/self/fd")} == before
    assert os.path.exists(anchor.container.child(NODE_SOCKET))
