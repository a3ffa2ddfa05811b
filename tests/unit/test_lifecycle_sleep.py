"""What scrun-wait keeps of an anchor is all that it needs: after a sleep everything goes on, and nothing is lost."""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import struct
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_agent import CLOSED, CREDIT, DATA, DONE, EOF, EXIT, NOTE, RESIZE, SIGNAL, SteppedLoop, hears, meet
from open_files import descriptors
from played_node import Node, PlayedAnchor

from scrun import fastjson, wait
from scrun.lifecycle.anchor.node_side import NodeSide
from scrun.lifecycle.container.directory import NODE_SOCKET, Container
from scrun.lifecycle.container.staging_plan import ENGINES_NETWORK
from scrun.lifecycle.process.loop import Loop

WINDOW = 1 << 18  # bytes
_ASLEEP: list[object] = []  # never freed: what has taken over has their descriptors


@pytest.fixture
def anchor(stepped: SteppedLoop, container: Container) -> Iterator[PlayedAnchor]:
    made = PlayedAnchor(stepped, container)
    yield made
    made.close()


def sleep(anchor: PlayedAnchor) -> None:
    """Sleep and wake up: another object has the place of the first, by what was kept alone."""
    kept = wait.Kept()
    state = fastjson.loads(fastjson.dumps(anchor.side.keep(kept)))
    watched = anchor.loop.at_rest(anchor.side.children)
    assert kept.descriptors >= watched.keys()
    for descriptor in watched:
        anchor.loop.let_be(descriptor)
    anchor.loop._ended.clear()
    _ASLEEP.append(anchor.nodes)
    anchor.nodes = NodeSide(anchor, state)  # type: ignore[arg-type]  # of a loop that a test steps
    anchor.nodes.connection.read_on()


def sleep_soon(anchor: PlayedAnchor) -> None:
    """Sleep as soon as nothing is under way."""

    def try_it() -> bool:
        try:
            sleep(anchor)
        except wait.Busy:
            return False
        return True

    anchor.until(try_it)


def read(anchor: PlayedAnchor, descriptor: int, length: int) -> bytes:
    """So many bytes of the container's output."""
    got = bytearray()

    def came() -> bool:
        if select.select([descriptor], [], [], 0)[0]:
            got.extend(os.read(descriptor, length - len(got)))
        return len(got) == length

    anchor.until(came)
    return bytes(got)


def test_output_goes_on_and_its_credit_does_too(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    data = random.Random(4).randbytes(3 * WINDOW)
    piece = 30_000  # less than what a pipe holds
    for at in range(0, len(data), piece):
        node.fake.send(DATA, 1, data[at : at + piece])
        assert read(anchor, anchor.pipes[2], len(data[at : at + piece])) == data[at : at + piece]
        sleep_soon(anchor)
    credited = sum(struct.unpack(">I", frame.payload)[0] for frame in node.fake.sent(CREDIT, 1))
    assert len(data) - WINDOW // 4 < credited <= len(data)


def test_input_goes_on_and_its_end_comes(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    for word in (b"first", b"second", b"third"):
        os.write(anchor.pipes[1], word)
        count = len(node.fake.sent(DATA, 0))
        assert hears(anchor.loop, node.fake, DATA, 0, count + 1)[-1].payload == word
        sleep_soon(anchor)
    os.close(anchor.pipes[1])
    assert hears(anchor.loop, node.fake, EOF, 0)
    sleep_soon(anchor)
    node.fake.send(CREDIT, 0, struct.pack(">I", 5))  # which crosses the end
    anchor.loop.settle()
    assert not anchor.events[1:]


def test_input_without_credit_waits_after_a_sleep(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    os.set_blocking(anchor.pipes[1], False)
    written = 0

    def fill() -> bool:
        nonlocal written
        if written < WINDOW + 10_000:
            try:
                written += os.write(anchor.pipes[1], bytes(10_000))
            except BlockingIOError:
                return sum(len(frame.payload) for frame in node.fake.sent(DATA, 0)) == WINDOW
        return sum(len(frame.payload) for frame in node.fake.sent(DATA, 0)) == WINDOW and written > WINDOW

    node.fake.acknowledge_after = 1
    anchor.until(fill)
    sleep_soon(anchor)
    node.fake.send(CREDIT, 0, struct.pack(">I", 1000))
    anchor.until(lambda: sum(len(frame.payload) for frame in node.fake.sent(DATA, 0)) == WINDOW + 1000)


@pytest.mark.parametrize("is_asleep", [True, False], ids=["before the sleep", "after it"])
def test_a_reader_that_goes_is_told_once(anchor: PlayedAnchor, is_asleep: bool) -> None:
    node = anchor.running()
    if is_asleep:
        os.close(anchor.pipes[2])
        assert hears(anchor.loop, node.fake, CLOSED, 1)
    sleep_soon(anchor)
    if not is_asleep:
        os.close(anchor.pipes[2])
        assert hears(anchor.loop, node.fake, CLOSED, 1)
    node.fake.send(DATA, 1, b"for nobody")
    sleep_soon(anchor)
    anchor.loop.settle()
    assert len(node.fake.sent(CLOSED, 1)) == 1


def test_signals_are_answered_after_the_sleep(anchor: PlayedAnchor) -> None:
    anchor.running()
    answers: list[object] = []
    for number in range(1, 4):
        anchor.side.connection.signal(number, answers.append)
        anchor.until(lambda number=number: len(answers) == number)  # type: ignore[misc]
        sleep_soon(anchor)
    assert [signal for _process, signal, _everyone in anchor.played[0].signals] == [1, 2, 3]


def test_a_connection_that_breaks_later_loses_nothing(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    node.fake.acknowledge_after = 1
    os.write(anchor.pipes[1], b"in")
    hears(anchor.loop, node.fake, DATA, 0)
    node.fake.send(DATA, 1, b"out")
    assert read(anchor, anchor.pipes[2], 3) == b"out"
    sleep_soon(anchor)
    node.fake.reset()
    node.fake.send(DATA, 1, b" and more")
    os.write(anchor.pipes[1], b" and more")
    anchor.loop.settle()
    meet(anchor.loop, anchor.side.connection, node.fake)
    assert read(anchor, anchor.pipes[2], 9) == b" and more"
    frames = hears(anchor.loop, node.fake, DATA, 0, 2)
    assert [frame.payload for frame in frames] == [b"in", b" and more"]


def test_the_end_after_a_sleep_is_usual(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    os.write(anchor.side.words, b"crun: a word\n")
    sleep_soon(anchor)
    node.fake.send(DATA, 1, b"last")
    for stream in (1, 2):
        node.fake.send(EOF, stream)
    node.fake.send(EXIT, 0, struct.pack(">I", 4294967295))
    node.fake.send(DONE)
    done: list[bool] = []
    anchor.side.end(lambda: done.append(True))
    anchor.until(lambda: bool(done))
    assert os.read(anchor.pipes[2], 100) == b"last"
    assert anchor.side.said() == b"crun: a word\n"
    assert anchor.events == ["program_started"]


def test_a_stream_that_has_ended_stays_so(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    node.fake.send(EOF, 2)
    anchor.until(lambda: not select.select([anchor.pipes[4]], [], [], 0)[0] or not os.read(anchor.pipes[4], 1))
    anchor.loop.settle()
    sleep_soon(anchor)
    (agent,) = anchor.side.connection.agents
    assert (agent.container._open, {*agent.container._outputs}) == ({1}, {1})


def test_exec_after_a_sleep(anchor: PlayedAnchor) -> None:
    anchor.running()
    sleep_soon(anchor)
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(anchor.container.child(NODE_SOCKET))
        anchor.loop.settle()
        with pytest.raises(wait.Busy, match="a process of exec runs"):
            sleep(anchor)
    sleep_soon(anchor)


@pytest.mark.usefixtures("with_wait")
def test_a_terminal_after_a_sleep(anchor: PlayedAnchor) -> None:
    ours, theirs = os.openpty()
    anchor.plan["terminal"] = True
    anchor.stdio.descriptors = [theirs] * 3
    before = termios.tcgetattr(theirs)
    node = anchor.running()
    sleep_soon(anchor)
    termios.tcsetwinsize(ours, (33, 99))
    anchor.until(lambda: any(frame.payload == struct.pack(">HH", 33, 99) for frame in node.fake.sent(RESIZE)))
    os.write(ours, b"typed")
    assert hears(anchor.loop, node.fake, DATA, 0)[0].payload == b"typed"
    sleep_soon(anchor)
    anchor.side.close()
    assert termios.tcgetattr(theirs) == before
    for descriptor in (ours, theirs):
        os.close(descriptor)


@pytest.mark.parametrize(
    ("has_it", "sleeps"), [(False, True), (True, False)], ids=["the node's after all", "it has it"]
)
def test_on_the_engines_network_it_stays_awake(has_it: bool, sleeps: bool, anchor: PlayedAnchor) -> None:
    anchor.plan["staging"]["network"] = ENGINES_NETWORK
    anchor.plan["engine_network"] = {"namespace": "/nosuch", "resolv_conf": "", "ports": [], "near": False}
    network: Any = anchor.connect()._network
    anchor.plan["staging"]["network"] = anchor.record["network"] = "node"  # as staging has found
    anchor.begin()
    anchor.ready().started()
    anchor.until(lambda: "program_started" in anchor.events)
    network._is_open = has_it
    try:
        sleep(anchor)
    except wait.Busy:
        assert not sleeps
    else:
        assert sleeps
        assert not anchor.side._network


def half_a_frame(anchor: PlayedAnchor, node: Node) -> None:
    assert node.fake.socket
    node.fake.socket.sendall(struct.pack(">IBI", 5, DATA, 1))


def held_output(anchor: PlayedAnchor, node: Node) -> None:
    for _ in range(2):
        node.fake.send(DATA, 1, bytes(50_000))  # together more than a pipe holds


def open_question(anchor: PlayedAnchor, node: Node) -> None:
    node.errno = -1
    anchor.side.connection.signal(15, lambda _answers: None)


def stranger(anchor: PlayedAnchor, node: Node) -> None:
    _ASLEEP.append(socket.create_connection(("127.0.0.1", anchor.side.connection.port)))


def broken(anchor: PlayedAnchor, node: Node) -> None:
    node.fake.reset()


def ending(anchor: PlayedAnchor, node: Node) -> None:
    node.fake.send(EXIT, 0, struct.pack(">I", 4294967295))


@pytest.mark.parametrize("begin", [half_a_frame, held_output, open_question, stranger, broken, ending])
def test_with_something_under_way_it_stays_awake(
    begin: Callable[[PlayedAnchor, Node], None], anchor: PlayedAnchor
) -> None:
    node = anchor.running()
    sleep_soon(anchor)
    begin(anchor, node)
    anchor.loop.settle()
    with pytest.raises(wait.Busy):
        sleep(anchor)


def test_before_its_program_runs_it_stays_awake(anchor: PlayedAnchor) -> None:
    anchor.connect()
    with pytest.raises(wait.Busy):
        sleep(anchor)
    anchor.begin()
    anchor.ready()
    with pytest.raises(wait.Busy):
        sleep(anchor)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_between_sleeps_all_bytes_arrive(seed: int, anchor: PlayedAnchor) -> None:
    draw, node = random.Random(seed), anchor.running()
    sent, got, typed = bytearray(), bytearray(), bytearray()
    for _ in range(60):
        what = draw.choice(["out", "in", "read", "sleep", "sleep", "note", "signal"])
        if what == "out" and len(sent) - len(got) < 20_000:
            piece = draw.randbytes(draw.randrange(1, 20_000))
            sent += piece
            node.fake.send(DATA, 1, piece)
        elif what == "in" and len(typed) < 200_000:
            piece = draw.randbytes(draw.randrange(1, 9_000))
            typed += piece
            os.write(anchor.pipes[1], piece)
        elif what == "read":
            got += read(anchor, anchor.pipes[2], len(sent) - len(got))
        elif what == "sleep":
            got += read(anchor, anchor.pipes[2], len(sent) - len(got))
            sleep_soon(anchor)
        elif what == "note":
            node.fake.send(NOTE, 0, b"a note")
        else:
            anchor.side.connection.signal(10, lambda _answers: None)
            anchor.until(lambda: True)
    got += read(anchor, anchor.pipes[2], len(sent) - len(got))
    anchor.until(lambda: sum(len(frame.payload) for frame in node.fake.sent(DATA, 0)) == len(typed))
    assert got == sent
    assert b"".join(frame.payload for frame in node.fake.sent(DATA, 0)) == typed
    anchor.until(lambda: len(node.fake.sent(SIGNAL)) == len(node.signals))


# --- the loop


def test_a_loop_tells_once_that_all_is_quiet(loop: Loop) -> None:
    read_end, write_end = os.pipe()
    told: list[float] = []

    def quiet() -> None:
        told.append(time.monotonic())
        loop.after(0.1, loop.stop)

    def take() -> None:
        os.read(read_end, 1)

    loop.watch(read_end, take)
    loop.when_quiet(0.05, quiet)
    loop.run()
    assert len(told) == 1, "not again, as nothing has come since"
    loop._running = True
    os.write(write_end, b".")
    loop.run()
    assert len(told) == 2
    os.close(read_end)
    os.close(write_end)


def test_a_timer_or_strange_child_is_no_rest(loop: Loop) -> None:
    assert loop.at_rest(set()) == {}
    timer = loop.after(100, lambda: None)
    with pytest.raises(wait.Busy, match="timer"):
        loop.at_rest(set())
    loop.forget(timer)
    loop._ended[7] = lambda _status: None
    with pytest.raises(wait.Busy, match="child"):
        loop.at_rest({8})
    assert loop.at_rest({7}) == {}
    loop._ended.clear()


def test_a_signal_at_the_last_moment_counts(loop: Loop) -> None:
    assert loop.is_quiet()
    os.kill(os.getpid(), signal.SIGCHLD)
    assert not loop.is_quiet()


# --- becoming scrun-wait


def test_whoever_cannot_become_scrun_wait_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(wait, "PROGRAM", str(tmp_path / "nosuch"))
    read_end, write_end = os.pipe()
    before = {*descriptors()}
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    wait.become(["events", f"{read_end}:1", "0"], "nosuch", {}, keep=(read_end,), title="x")
    assert {*os.listdir("/proc/self/fd")} == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == masked
    assert not os.get_inheritable(read_end)
    os.close(read_end)
    os.close(write_end)


def test_what_comes_while_falling_asleep_counts(with_wait: None) -> None:
    asked: list[set[Any]] = []

    def is_quiet() -> bool:
        asked.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        return False

    wait.become(["events", "0:1", "0"], "nosuch", {}, keep=(), title="x", is_quiet=is_quiet)
    assert signal.SIGCHLD in asked[0]
