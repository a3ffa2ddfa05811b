"""A container's processes as its anchor follows them, with agents that do as they should and agents that don't."""

from __future__ import annotations

import os
import random
import resource
import select
import struct
from collections.abc import Iterator

import pytest
from fake_agent import (
    ACK,
    ANSWER,
    BYE,
    CLOSED,
    CONTINUE,
    CREDIT,
    DATA,
    DONE,
    EOF,
    EXEC,
    EXIT,
    FAILED,
    NOTE,
    PART,
    READY,
    RESIZE,
    RUN,
    SIGNAL,
    START,
    STARTED,
    STOP,
    Events,
    FakeAgent,
    Frame,
    SteppedLoop,
    hears,
    meet,
    pack,
    ready,
    values,
)

from scrun.errors import NodeRuntimeError, ScrunError, UsageError
from scrun.lifecycle.connection import connection as connection_module
from scrun.lifecycle.connection.agent import PIPES, TASK, TERMINAL, Agent
from scrun.lifecycle.connection.connection import Connection

WORDS = ["sh", "-c", "caf\u00e9"]


class Stdio:
    """Three pipes: what a container has, and the other ends of these."""

    def __init__(self) -> None:
        (stdin, self.stdin), (self.stdout, stdout), (self.stderr, stderr) = os.pipe(), os.pipe(), os.pipe()
        self.theirs = [stdin, stdout, stderr]

    def hand_over(self) -> None:
        for descriptor in self.theirs:
            os.close(descriptor)
        self.theirs = []

    def close(self) -> None:
        for descriptor in (*self.theirs, self.stdin, self.stdout, self.stderr):
            if descriptor >= 0:
                os.close(descriptor)

    def end_input(self) -> None:
        os.close(self.stdin)
        self.stdin = -1

    def read_all(self, loop: SteppedLoop, descriptor: int) -> bytes:
        """Everything until the end of a stream."""
        data = b""
        while True:
            loop.until(lambda: bool(select.select([descriptor], [], [], 0)[0]))
            piece = os.read(descriptor, 65536)
            data += piece
            if not piece:
                return data


@pytest.fixture
def events() -> Events:
    return Events()


class House:
    """A connection, and what the test makes with it."""

    def __init__(self, loop: SteppedLoop, events: Events) -> None:
        self.loop, self.events = loop, events
        self.connections: list[Connection] = []
        self.stdio: list[Stdio] = []
        self.agents: list[FakeAgent] = []

    def open(self, stdio: str = PIPES, *, patience: float = 60.0) -> Connection:
        made = Connection(self.loop, self.events, self.events, stdio=stdio, patience=patience)
        self.connections.append(made)
        return made

    def ready(self, connection: Connection, node: str = "n1", task: int = 0) -> tuple[FakeAgent, Agent]:
        fake = ready(self.loop, connection, node, task)
        self.agents.append(fake)
        agent = connection.agent(node, task)
        assert agent
        return fake, agent

    def pipes(self) -> Stdio:
        self.stdio.append(Stdio())
        return self.stdio[-1]

    def running(self, connection: Connection) -> tuple[FakeAgent, Agent, Stdio]:
        """A container that runs."""
        fake, agent = self.ready(connection)
        stdio = self.pipes()
        connection.start(WORDS, stdio.theirs)
        stdio.hand_over()
        hears(self.loop, fake, START)
        fake.send(STARTED, 0, struct.pack(">I", 77))
        self.loop.until(lambda: "started 77" in self.events.said)
        return fake, agent, stdio

    def close(self) -> None:
        for connection in self.connections:
            connection.close()
        for stdio in self.stdio:
            stdio.close()
        for agent in self.agents:
            agent.die()
        self.loop.until(lambda: not self.loop._ended)


@pytest.fixture
def house(stepped: SteppedLoop, events: Events) -> Iterator[House]:
    made = House(stepped, events)
    yield made
    made.close()


def end(fake: FakeAgent, status: int = 0) -> None:
    """The container's process ends."""
    fake.send(EXIT, 0, struct.pack(">I", status))
    fake.send(EOF, 1)
    fake.send(EOF, 2)
    fake.send(DONE)


def test_settings_hold_a_new_key_and_owned_job(house: House) -> None:
    one, two = house.open(), house.open(TERMINAL)
    said = values(one)
    assert said["version"] == "1"
    assert len(bytes.fromhex(said["key"])) == 32
    assert (said["patience"], said["stdio"]) == ("60", "pipes")
    assert said["meeting"].startswith("scrun-agent-7-")
    assert len(said["meeting"]) == len("scrun-agent-7-") + 32
    assert "job" not in said
    assert values(two)["stdio"] == "terminal"
    assert {values(two)["key"], values(two)["meeting"]} & {said["key"], said["meeting"]} == set()
    assert "job 9\n" in two.settings(9, owned=True)


def test_a_container_from_its_start_to_its_end(house: House) -> None:
    connection = house.open()
    fake, agent, stdio = house.running(connection)
    assert fake.frames == [Frame(PART, 0, b"sh\0-c\0caf\xc3\xa9\0"), Frame(START, 0, bytes(4))]
    assert (agent.node, agent.task) == ("n1", 0)
    os.write(stdio.stdin, b"in\0put")
    assert hears(house.loop, fake, DATA)[0] == Frame(DATA, 0, b"in\0put")
    stdio.end_input()
    hears(house.loop, fake, EOF, 0)
    fake.send(DATA, 1, b"out\xff")
    fake.send(DATA, 2, b"err")
    end(fake, 3)
    assert stdio.read_all(house.loop, stdio.stdout) == b"out\xff"
    assert stdio.read_all(house.loop, stdio.stderr) == b"err"
    hears(house.loop, fake, BYE)
    drained: list[bool] = []
    connection.when_drained(lambda: drained.append(True))
    assert drained == [True]
    fake.die()
    house.loop.settle()
    assert house.events.said == ["ready n1 0", "started 77", "exited 3", "delivered", "drained", "done"]


def test_input_waits_for_start_and_survives_a_failure(house: House) -> None:
    connection = house.open()
    fake, _agent = house.ready(connection)
    stdio = house.pipes()
    os.write(stdio.stdin, b"not for it")
    connection.start(WORDS, stdio.theirs)
    hears(house.loop, fake, START)
    house.loop.settle()
    fake.send(FAILED, 0, b"x" + struct.pack(">I", 2) + b"no\x1b[31m such")
    house.loop.until(lambda: "failed" in house.events.said)
    failure = house.events.failure
    assert failure
    assert (failure.where, failure.errno, failure.text) == ("x", 2, "no?[31m such")
    assert os.read(stdio.theirs[0], 20) == b"not for it"
    fake.send(EXIT, 0, struct.pack(">I", 127))
    fake.send(DONE)
    hears(house.loop, fake, BYE)
    assert house.events.said == ["ready n1 0", "failed", "drained", "done"]


def test_early_start_waits_for_the_node(house: House) -> None:
    connection = house.open(TERMINAL)
    stdio = house.pipes()
    connection.start(WORDS, [stdio.theirs[0], stdio.theirs[1], -1], (24, 80))
    connection.resize((25, 81))
    fake, _agent = house.ready(connection)
    assert hears(house.loop, fake, START)[0].payload == struct.pack(">HH", 25, 81)
    connection.resize((26, 82))
    assert hears(house.loop, fake, RESIZE)[0] == Frame(RESIZE, 0, struct.pack(">HH", 26, 82))


def test_container_killed_before_start_ends(house: House) -> None:
    connection = house.open()
    fake, _agent = house.ready(connection)
    fake.send(EXIT, 0, struct.pack(">I", 0xFFFFFFFF))
    fake.send(DONE)
    hears(house.loop, fake, BYE)
    assert house.events.said == ["ready n1 0", "exited None", "delivered", "drained", "done"]


def test_slow_reader_is_waited_for_without_growth(house: House) -> None:
    connection = house.open()
    fake, agent, stdio = house.running(connection)
    sent, credit = 0, 262144
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    got = 0
    assert fake.socket
    while sent < 30 << 20:
        while credit and sent < 30 << 20:
            piece = min(credit, 65536)
            fake.send(DATA, 1, bytes(piece))
            sent, credit = sent + piece, credit - piece
            house.loop.until(lambda: bool(select.select([], [fake.socket], [], 0)[1]))
            fake.hear()
        house.loop.until(lambda: bool(select.select([stdio.stdout], [], [], 0)[0]))
        got += len(os.read(stdio.stdout, 65536))
        house.loop.until(lambda: True)
        fake.hear()
        credit += sum(struct.unpack(">I", frame.payload)[0] for frame in fake.sent(CREDIT, 1))
        fake.frames = []
        assert agent.container._outputs[1].held <= 262144
    fake.send(EOF, 1)
    while got < sent:
        house.loop.until(lambda: bool(select.select([stdio.stdout], [], [], 0)[0]))
        got += len(os.read(stdio.stdout, 65536))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 << 10
    assert len(fake.kept) < 400_000  # it was acknowledged


def test_end_is_reported_immediately_and_delivered_once_read(house: House) -> None:
    connection = house.open()
    fake, _agent, stdio = house.running(connection)
    for _ in range(4):
        fake.send(DATA, 1, bytes(65536))
    end(fake)
    drained: list[bool] = []
    hears(house.loop, fake, BYE)
    fake.die()
    connection.when_drained(lambda: drained.append(True))
    house.loop.settle()
    assert house.events.said[2:] == ["exited 0", "done"]
    assert drained == []
    assert len(stdio.read_all(house.loop, stdio.stdout)) == 4 * 65536
    house.loop.until(lambda: drained == [True])
    assert house.events.said[2:] == ["exited 0", "done", "delivered", "drained"]


def test_departed_reader_is_reported_to_the_node(house: House) -> None:
    connection = house.open()
    fake, _agent, stdio = house.running(connection)
    os.close(stdio.stdout)
    stdio.stdout = -1
    assert hears(house.loop, fake, CLOSED) == [Frame(CLOSED, 1, b"")]
    fake.send(DATA, 1, b"was on its way")
    end(fake)
    hears(house.loop, fake, BYE)
    assert len(fake.sent(CLOSED)) == 1


def test_reader_leaving_after_the_end_is_not_reported(house: House) -> None:
    connection = house.open()
    fake, agent, _stdio = house.running(connection)
    _followed, stdio, number = exec_one(house, agent)
    fake.send(STARTED, number * 4, bytes(4))
    for _ in range(2):
        fake.send(DATA, number * 4 + 1, bytes(65536))
    fake.send(EXIT, number * 4, bytes(4))
    for stream in (1, 2):
        fake.send(EOF, number * 4 + stream)
    house.loop.settle()
    assert number in agent._processes  # the number isn't free before all is written
    os.close(stdio.stdout)
    stdio.stdout = -1
    house.loop.until(lambda: number not in agent._processes)
    house.loop.settle()
    fake.hear()
    assert fake.sent(CLOSED) == []


def test_closed_input_leaves_the_rest_to_others(house: House) -> None:
    connection = house.open()
    fake, _agent, stdio = house.running(connection)
    fake.send(CLOSED, 0)
    house.loop.settle()
    with pytest.raises(BrokenPipeError):
        os.write(stdio.stdin, b"x")


def test_input_waits_while_the_node_acknowledges_nothing(house: House) -> None:
    connection = house.open()
    fake, agent, stdio = house.running(connection)
    fake.send(CREDIT, 0, struct.pack(">I", 0x7FFFFFFF))
    os.set_blocking(stdio.stdin, False)
    fake.acknowledged = 1 << 40  # it never acknowledges
    taken = 0
    for _ in range(200):
        try:
            taken += os.write(stdio.stdin, bytes(65536))
        except BlockingIOError:
            pass
        house.loop.until(lambda: True)
        fake.hear()
    assert agent.link.unacknowledged < (1 << 20) + 2 * 65545
    assert taken < (1 << 20) + 4 * 65545
    fake.acknowledged = 0
    fake.send(ACK, 0, struct.pack(">Q", fake.position))
    house.loop.settle()
    fake.hear()
    assert agent.link.unacknowledged < 1 << 20


def test_signals_stop_and_continue_are_answered_by_number(house: House) -> None:
    connection = house.open()
    fake, agent, _stdio = house.running(connection)
    answers: list[object] = []
    agent.signal(15, lambda errno, text: answers.append((15, errno, text)))
    agent.signal(9, lambda errno, text: answers.append((9, errno, text)), everyone=True)
    agent.stop(lambda errno, text: answers.append(("stop", errno, text)))
    agent.go_on(lambda errno, text: answers.append(("go on", errno, text)))
    (first, second), stop, go_on = (
        hears(house.loop, fake, SIGNAL, count=2),
        hears(house.loop, fake, STOP)[0],
        hears(house.loop, fake, CONTINUE)[0],
    )
    assert (first.payload[4:], second.payload[4:]) == (b"\0\0\0\x0f\0", b"\0\0\0\x09\1")
    for frame, errno, text in ((second, 0, b""), (stop, 1, b"not all"), (go_on, 0, b""), (first, 3, b"gone")):
        fake.send(ANSWER, 0, frame.payload[:4] + struct.pack(">I", errno) + text)
    house.loop.until(lambda: len(answers) == 4)
    assert answers == [(9, 0, ""), ("stop", 1, "not all"), ("go on", 0, ""), (15, 3, "gone")]


def exec_one(house: House, agent: Agent, *, terminal: bool = False) -> tuple[Events, Stdio, int]:
    followed, stdio = Events(), house.pipes()
    process = agent.exec(b'{"args": ["true"]}', stdio.theirs, followed, terminal=terminal, size=(5, 6))
    stdio.hand_over()
    return followed, stdio, process.number


def test_exec_beside_the_container(house: House) -> None:
    connection = house.open()
    fake, agent, _stdio = house.running(connection)
    followed, stdio, number = exec_one(house, agent)
    assert hears(house.loop, fake, EXEC) == [Frame(EXEC, number * 4, b"\0\0\5\0\6")]
    assert fake.sent(PART, number * 4) == [Frame(PART, number * 4, b'{"args": ["true"]}')]
    os.write(stdio.stdin, b"for it")
    fake.send(STARTED, number * 4, struct.pack(">I", 99))
    assert hears(house.loop, fake, DATA, number * 4)[0].payload == b"for it"
    fake.send(DATA, number * 4 + 1, b"first")
    fake.send(EXIT, number * 4, struct.pack(">I", 7))
    house.loop.until(lambda: "delivered" in followed.said)
    assert followed.said == ["started 99", "exited 7", "delivered"]
    assert os.read(stdio.stdout, 20) == b"first"
    # A process that it has left behind still writes; the number isn't free before that ends.
    fake.send(DATA, number * 4 + 1, b"later")
    assert exec_one(house, agent)[2] != number
    fake.send(EOF, number * 4 + 1)
    fake.send(EOF, number * 4 + 2)
    assert stdio.read_all(house.loop, stdio.stdout) == b"later"
    house.loop.until(lambda: number not in agent._processes)


def test_failed_exec_says_why_and_frees_its_number(house: House) -> None:
    connection = house.open()
    fake, agent, _stdio = house.running(connection)
    followed, stdio, number = exec_one(house, agent, terminal=True)
    assert hears(house.loop, fake, EXEC)[0].payload == b"\1\0\5\0\6"
    fake.send(FAILED, number * 4, b"r" + bytes(4) + b"crun: executable file `x` not found")
    house.loop.until(lambda: followed.said == ["failed"])
    assert number not in agent._processes
    assert stdio.read_all(house.loop, stdio.stdout) == b""


def test_exec_without_standard_streams(house: House) -> None:
    connection = house.open()
    fake, agent, _stdio = house.running(connection)
    number = agent.exec(b"{}", [-1, -1, -1], Events()).number
    hears(house.loop, fake, CLOSED, number * 4 + 2)
    kinds = [(frame.kind, frame.stream & 3) for frame in fake.frames if frame.stream >> 2 == number]
    assert kinds == [(PART, 0), (EXEC, 0), (EOF, 0), (CLOSED, 1), (CLOSED, 2)]


def test_unusable_descriptors_are_an_error_and_end_exec(house: House) -> None:
    connection = house.open()
    fake, agent, _stdio = house.running(connection)
    stdio = house.pipes()
    with pytest.raises(ScrunError, match="exec failed: its input and output can't be used: Bad file descriptor"):
        agent.exec(b"{}", [stdio.theirs[0], stdio.theirs[1], 9999], Events())
    signal = hears(house.loop, fake, SIGNAL)[0]
    assert signal.payload[4:8] == struct.pack(">I", 9)
    fake.send(STARTED, signal.stream, bytes(4))
    fake.send(EXIT, signal.stream, struct.pack(">I", 137))
    fake.send(EOF, signal.stream + 1)
    fake.send(EOF, signal.stream + 2)
    house.loop.until(lambda: [*agent._processes] == [0])
    other = house.open()
    house.ready(other)
    other.start(WORDS, [9999, 9999, 9999])
    assert house.events.said[-1] == "lost: the container's input and output can't be used: Bad file descriptor"


def test_numbers_are_reused_late_and_end_at_255(house: House) -> None:
    connection = house.open()
    fake, agent, _stdio = house.running(connection)
    none = [os.open(os.devnull, os.O_RDWR)] * 3
    assert agent.exec(b"{}", none, Events()).number == 1
    fake.send(FAILED, 4, b"s" + bytes(4))
    house.loop.until(lambda: 1 not in agent._processes)
    made = [agent.exec(b"{}", none, Events()) for _ in range(255)]
    assert [process.number for process in made] == [*range(2, 256), 1]
    with pytest.raises(NodeRuntimeError, match="255 processes"):
        agent.exec(b"{}", none, Events())
    for number in (9, 200):
        fake.send(FAILED, number * 4, b"s" + bytes(4))
    house.loop.until(lambda: 200 not in agent._processes)
    assert [agent.exec(b"{}", none, Events()).number for _ in range(2)] == [9, 200]
    os.close(none[0])


def test_oversized_request_is_refused_here(house: House) -> None:
    connection = house.open()
    fake, agent, _stdio = house.running(connection)
    with pytest.raises(UsageError, match="16777217 bytes"):
        agent.exec(bytes((16 << 20) + 1), [], Events())
    stdio = house.pipes()
    number = agent.exec(bytes(200_000), stdio.theirs, Events()).number
    assert [len(frame.payload) for frame in hears(house.loop, fake, PART, number * 4, count=4)] == [
        65536,
        65536,
        65536,
        3392,
    ]


def test_a_command_on_the_node_beside_the_container(house: House) -> None:
    connection = house.open()
    fake, agent, _stdio = house.running(connection)
    done: list[tuple[int, str]] = []
    agent.run(["@members", "a b"], lambda status, said: done.append((status, said)))
    run = hears(house.loop, fake, RUN)[0]
    assert fake.sent(PART, run.stream)[0].payload == b"@members\0a b\0"
    fake.send(STARTED, run.stream, bytes(4))
    fake.send(DATA, run.stream + 1, b"12\n")
    fake.send(DATA, run.stream + 2, b"14\n")
    fake.send(EXIT, run.stream, struct.pack(">I", 1))
    fake.send(EOF, run.stream + 1)
    house.loop.settle()
    assert done == []
    fake.send(EOF, run.stream + 2)
    house.loop.until(lambda: done == [(1, "12\n14\n")])
    assert [frame.payload for frame in hears(house.loop, fake, CREDIT, count=2)] == [struct.pack(">I", 3)] * 2
    agent.run(["/nope"], lambda status, said: done.append((status, said)))
    run = hears(house.loop, fake, RUN, count=2)[1]
    fake.send(FAILED, run.stream, b"x" + struct.pack(">I", 2) + b"no such file")
    house.loop.until(lambda: len(done) == 2)
    assert done[1] == (127, "no such file")


def test_several_tasks_have_an_agent_each(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "_MOST_AGENTS", 3)
    connection = house.open(TASK)
    fakes = [house.ready(connection, node, task)[0] for node, task in (("n2", 0), ("n1", 1), ("n1", 0))]
    assert [(agent.node, agent.task) for agent in connection.agents] == [("n1", 0), ("n1", 1), ("n2", 0)]
    connection.start(WORDS)
    for fake in fakes:
        assert hears(house.loop, fake, START)
    answers: list[list[tuple[str, int, int]]] = []

    def gathered(them: list[tuple[Agent, int, str]]) -> None:
        answers.append(sorted((agent.node, agent.task, errno) for agent, errno, _text in them))

    connection.signal(10, gathered)
    for errno, fake in enumerate(fakes):
        request = hears(house.loop, fake, SIGNAL)[0].payload[:4]
        if errno < 2:
            fake.send(ANSWER, 0, request + struct.pack(">I", errno))
    house.loop.settle()
    assert answers == []
    fakes[2].die()
    house.loop.until(lambda: bool(answers))
    assert answers == [[("n1", 0, 32), ("n1", 1, 1), ("n2", 0, 0)]]
    second = connection.agent("n2")
    assert second
    assert second.task == 0
    assert connection.agent("n1") is connection.agent("n1", 1)  # the other one has gone
    assert connection.agent("n3") is None
    fourth = FakeAgent(connection.port, bytes.fromhex(values(connection)["key"]))
    with pytest.raises(ConnectionError):
        meet(house.loop, connection, fourth)
    fourth.die()
    nothing: list[object] = []
    house.open().stop(nothing.append)
    assert nothing == [[]]


def test_a_broken_connection_is_gone_on_with(house: House) -> None:
    connection = house.open()
    fake, _agent, stdio = house.running(connection)
    fake.send(DATA, 1, b"before ")
    fake.reset()
    os.write(stdio.stdin, b"meanwhile")
    fake.send(DATA, 1, b"meanwhile ")
    house.loop.until(lambda: "broken" in house.events.said)
    house.loop.settle()
    meet(house.loop, connection, fake)
    fake.send(DATA, 1, b"after")
    assert hears(house.loop, fake, DATA)[0].payload == b"meanwhile"
    end(fake)
    assert stdio.read_all(house.loop, stdio.stdout) == b"before meanwhile after"
    assert [said for said in house.events.said if said in ("broken", "resumed")] == ["broken", "resumed"]
    assert not house.loop._timers


def test_patience_with_a_node_ends(house: House) -> None:
    connection = house.open(patience=0.2)
    fake, agent, _stdio = house.running(connection)
    followed = exec_one(house, agent)[0]
    answers: list[int] = []
    agent.signal(1, lambda errno, _text: answers.append(errno))
    fake.reset()
    house.loop.until(lambda: "lost: the node could not be reached for 0.2 s" in house.events.said)
    assert answers == [32]
    assert followed.said == ["process lost"]
    agent.signal(1, lambda errno, _text: answers.append(errno))
    assert answers == [32, 32]
    with pytest.raises(NodeRuntimeError, match="gone"):
        exec_one(house, agent)
    with pytest.raises(ConnectionError):
        meet(house.loop, connection, fake)


def test_dead_agent_is_lost_but_its_output_written(house: House) -> None:
    connection = house.open()
    fake, _agent, stdio = house.running(connection)
    fake.send(DATA, 1, b"last words")
    fake.die()
    assert stdio.read_all(house.loop, stdio.stdout) == b"last words"
    assert house.events.said[2:] == ["process lost", "drained", "lost: the agent has ended"]


def test_ended_step_is_not_waited_for(house: House) -> None:
    drained: list[str] = []
    connection = house.open()
    connection.when_drained(lambda: drained.append("none came"))
    assert drained == ["none came"]
    other = house.open()
    fake, _agent, _stdio = house.running(other)
    other.when_drained(lambda: drained.append("it was reset"))
    house.loop.settle()
    assert len(drained) == 1  # its agent is connected, and may have more to say
    fake.reset()
    house.loop.until(lambda: len(drained) == 2)
    assert house.events.said[-1] == "lost: the step has ended"
    third = house.open()
    fake, _agent, _stdio = house.running(third)
    fake.reset()
    house.loop.until(lambda: house.events.said[-1] == "broken")
    third.when_drained(lambda: drained.append("it was gone"))
    assert len(drained) == 3


WRONG = {
    "output of a process that is not there": [(DATA, 21, b"x")],
    "an answer to nothing": [(ANSWER, 0, bytes(8))],
    "a second READY": [(READY, 0, bytes(4) + b"n9")],
    "a second start": [(STARTED, 0, bytes(4))],
    "a failure after the start": [(FAILED, 0, b"x" + bytes(4))],
    "a second exit": [(EXIT, 0, bytes(4)), (EXIT, 0, bytes(4))],
    "output after its end": [(EOF, 1, b""), (DATA, 1, b"x")],
    "a second end of output": [(EOF, 1, b""), (EOF, 1, b"")],
    "a second DONE": [(DONE, 0, b""), (DONE, 0, b"")],
    "output without bounds": [(DATA, 1, bytes(65536))] * 30,
    "an exit of another process": [(EXIT, 8, bytes(4))],
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_an_agent_that_breaks_the_rules_is_lost(house: House, wrong: list[tuple[int, int, bytes]]) -> None:
    connection = house.open()
    fake, agent, _stdio = house.running(connection)
    for frame in wrong:
        try:
            fake.send(*frame)
        except OSError:
            break
        house.loop.until(lambda: True)
    house.loop.until(lambda: agent.link.is_over)
    said = [said for said in house.events.said if str(said).startswith("lost: the agent broke the protocol: ")]
    assert len(said) == (0 if wrong[0][0] == DONE else 1)
    assert connection.agents == []


def test_output_where_srun_carries_it_is_refused(house: House) -> None:
    connection = house.open(TASK)
    fake, agent = house.ready(connection)
    fake.send(DATA, 1, b"x")
    house.loop.until(lambda: agent.link.is_over)


def test_notes_are_for_the_log(house: House) -> None:
    connection = house.open()
    fake, _agent = house.ready(connection)
    fake.send(NOTE, 0, b"caf\xc3\xa9 \x1b\n\xff")
    house.loop.until(lambda: "note: café ?\n\ufffd" in house.events.said)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_an_agent_sends_does_no_harm(house: House, seed: int) -> None:
    chance = random.Random(seed)
    connection = house.open()
    fake, agent, _stdio = house.running(connection)
    others = [exec_one(house, agent)[0] for _ in range(3)]
    agent.run(["x"], lambda _status, _said: None)
    agent.signal(3, lambda _errno, _text: None)
    kinds = [DATA, EOF, CREDIT, CLOSED, ACK, READY, STARTED, FAILED, EXIT, ANSWER, DONE, NOTE]
    lengths = {CREDIT: 4, ACK: 8, STARTED: 4, EXIT: 4, EOF: 0, CLOSED: 0, DONE: 0, ANSWER: 8, FAILED: 9}
    assert fake.socket
    for _ in range(200):
        kind = chance.choice(kinds)
        stream = chance.choice([0, 1, 2, 4, 5, 6, 8, 9, 12, 13, 16, 17, 18])
        payload = chance.randbytes(lengths.get(kind, chance.choice([1, 9, 300])))
        if kind in (CREDIT, ACK, ANSWER):
            payload = bytes(len(payload) - 1) + payload[-1:]
        data = pack(kind, stream, payload)
        if chance.random() < 0.05:
            data = chance.randbytes(chance.randrange(40))
        try:
            fake.socket.sendall(data)
        except OSError:
            break
        house.loop.until(lambda: True)
        if agent.link.is_over:
            break
    house.loop.settle()
    connection.close()
    house.loop.until(lambda: not house.loop._ended)
    assert {*house.loop._ready} == {house.loop._wake}
    for followed in others:
        ends = [said for said in followed.said if said in ("failed", "process lost") or "exited" in str(said)]
        assert len(ends) <= 1
