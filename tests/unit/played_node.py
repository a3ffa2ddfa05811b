"""An anchor's connection to nodes that the test plays: the anchor's parts are real, the agents are fakes."""

from __future__ import annotations

import os
import signal
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Any

from fake_agent import (
    ANSWER,
    CONTINUE,
    DATA,
    EOF,
    EXEC,
    EXIT,
    FAILED,
    PART,
    RUN,
    SIGNAL,
    STARTED,
    STOP,
    FakeAgent,
    Frame,
    SteppedLoop,
    ready,
)

from scrun.lifecycle.anchor.node_side import NodeSide
from scrun.lifecycle.connection.frames import LARGEST
from scrun.lifecycle.container.directory import Container

RUNTIME: Any = {"kind": "crun", "command": "crun --root=/run/user/%U", "name": "%n.%u.%j.%s.%t"}
RECORD: Any = {"job": 42, "step": "3", "user": "alice", "uid": 2000, "tasks": 1, "nodes": "n1", "runtime": RUNTIME}
RECORD |= {"job_owned": True, "command": ["tool", "x"], "unconnected": "", "init": "/dev/.scrun/init"}


class Node:
    """An agent that does what it is asked, and notes it; ``run`` says how a command on the node ends."""

    def __init__(self, fake: FakeAgent) -> None:
        self.fake = fake
        self.run: Callable[[list[str]], tuple[int, str] | None] = lambda _words: (0, "")
        self.errno = 0  # of each answer; negative: there is none
        self.text = ""
        self.commands: list[list[str]] = []
        self.execs: list[tuple[int, bytes, Frame]] = []
        self.signals: list[tuple[int, int, bool]] = []  # process, number, whether it is for all
        self.orders: list[str] = []
        self._parts: dict[int, bytes] = {}
        self._seen = 0

    def serve(self) -> None:
        """Do what has come."""
        if self.fake.socket:
            self.fake.hear()
        frames, self._seen = self.fake.frames[self._seen :], len(self.fake.frames)
        for frame in frames:
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        number = frame.stream >> 2
        if frame.kind == PART:
            self._parts[number] = self._parts.get(number, b"") + frame.payload
        elif frame.kind == EXEC:
            self.execs.append((number, self._parts.pop(number, b""), frame))
        elif frame.kind == RUN:
            words = self._parts.pop(number).decode("utf-8", "surrogateescape").split("\0")[:-1]
            self.commands.append(words)
            if answer := self.run(words):
                self.end(number, *answer)
        elif frame.kind == SIGNAL:
            _request, signal_number, everyone = struct.unpack(">IIB", frame.payload)
            self.signals.append((number, signal_number, bool(everyone)))
            self._answer(frame)
        elif frame.kind in (STOP, CONTINUE):
            self.orders.append("stop" if frame.kind == STOP else "continue")
            self._answer(frame)

    def _answer(self, frame: Frame) -> None:
        if self.errno >= 0:
            self.fake.send(ANSWER, 0, frame.payload[:4] + struct.pack(">I", self.errno) + self.text.encode())

    def end(self, number: int, exit_status: int, text: str = "") -> None:
        """A process ends, after it has written that."""
        written = text.encode("utf-8", "surrogateescape")
        for begin in range(0, len(written), LARGEST):
            self.fake.send(DATA, number * 4 + 1, written[begin : begin + LARGEST])
        for stream in (1, 2):
            self.fake.send(EOF, number * 4 + stream)
        self.fake.send(EXIT, number * 4, struct.pack(">I", exit_status))

    def started(self, number: int = 0) -> None:
        self.fake.send(STARTED, number * 4, struct.pack(">I", 77))

    def failed(self, where: str, errno: int = 0, text: str = "", number: int = 0) -> None:
        self.fake.send(FAILED, number * 4, where.encode() + struct.pack(">I", errno) + text.encode())


class FakeStep:
    """srun; it notes that it was told to end the step."""

    def __init__(self) -> None:
        self.ends: list[float | None] = []

    def terminate(self, grace: float | None = None) -> None:
        self.ends.append(grace)


class FakeStdio:
    """The container's three descriptors."""

    def __init__(self, descriptors: Sequence[int]) -> None:
        self.descriptors = [*descriptors]

    def replace(self, descriptors: list[int]) -> None:
        self.descriptors = descriptors


class PlayedAnchor:
    """What the modules that speak with the nodes use of an anchor."""

    def __init__(self, loop: SteppedLoop, container: Container, **changes: Any) -> None:
        self.loop, self.container = loop, container
        container.record.update({**RECORD, "status": "running", **changes})  # type: ignore[typeddict-item]
        container.save()
        self.record = container.record
        self.plan: Any = {
            "terminal": False,
            "ports": [0, 0],
            "node_patience": 60.0,
            "step_environment": {},
            "staging": {"network": "host", "gateways": []},
        }
        self.forced: int | None = None
        self.step, self.state = FakeStep(), ""
        self.pipes = [*os.pipe(), *os.pipe(), *os.pipe()]
        self.stdio: Any = FakeStdio([self.pipes[0], self.pipes[3], self.pipes[5]])
        self.logged: list[str] = []
        self.said: list[str] = []
        self.happened: list[tuple[Any, ...]] = []
        self.played: list[Node] = []
        self.nodes: NodeSide | None = None

    @property
    def status(self) -> str:
        return str(self.record["status"])

    def log(self, _level: str, text: str) -> None:
        self.logged.append(text)

    def say(self, text: str) -> None:
        self.said.append(text)

    def happen(self, event: str, *about: object) -> None:
        self.happened.append((event, *about))

    @property
    def events(self) -> list[str]:
        return [event for event, *_ in self.happened]

    # --- the test's

    @property
    def side(self) -> NodeSide:
        assert self.nodes
        return self.nodes

    def connect(self) -> NodeSide:
        """The job has its nodes."""
        self.nodes = NodeSide(self)  # type: ignore[arg-type]  # of a loop that a test steps
        return self.nodes

    def begin(self) -> None:
        """Its step begins, and srun says so."""
        self.side.begin()
        self.side.step_has_begun(self.record["tasks"])

    def ready(self, name: str = "n1", task: int = 0) -> Node:
        """A node's agent waits for the start."""
        self.played.append(Node(ready(self.loop, self.side.connection, name, task)))
        return self.played[-1]

    def until(self, condition: Callable[[], bool]) -> None:
        """Serve, here and on the nodes, until something is so."""

        def is_so() -> bool:
            for node in self.played:
                node.serve()
            return condition()

        self.loop.until(is_so)

    def running(self) -> Node:
        """The container runs."""
        self.connect()
        self.begin()
        node = self.ready()
        node.started()
        self.until(lambda: "program_started" in self.events)
        return node

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a caller in another thread gets, while this one serves; an error is raised here."""
        calling = Calling(function, *arguments)
        self.until(lambda: not calling.is_alive())
        return calling.result()

    def close(self) -> None:
        if self.nodes:
            self.nodes.close()
        for node in self.played:
            node.fake.die()
        for descriptor in (*self.pipes, *([self.nodes.words] if self.nodes else [])):
            try:
                os.close(descriptor)
            except OSError:
                pass  # by the test
        self.loop.until(lambda: not self.loop._ended)


class Calling(threading.Thread):
    """A call in another thread."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        super().__init__(daemon=True)
        self._function, self._arguments = function, arguments
        self._result: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._function(*self._arguments)
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        self.join()
        if self._error:
            raise self._error
        return self._result


KILL, TERM = int(signal.SIGKILL), int(signal.SIGTERM)
