"""The anchor's socket for its nodes: what good callers get, and that no other one harms the anchor."""

from __future__ import annotations

import array
import json
import os
import resource
import select
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import open_files
import pytest
from fake_agent import CREDIT, DATA, EXEC, RESIZE, SteppedLoop, hears
from played_node import Calling, PlayedAnchor
from unchecked import anything

from scrun.errors import NodeRuntimeError
from scrun.lifecycle.anchor import node_requests
from scrun.lifecycle.container import messages, node_client
from scrun.lifecycle.container.directory import NODE_SOCKET, Container
from scrun.lifecycle.container.node_client import Answer
from scrun.lifecycle.process import wire

EXEC_REQUEST: Any = {"do": "exec", "node": "", "program": "tool", "terminal": False}
EXEC_REQUEST |= {"own_terminal": False, "size": [0, 0]}
RUN_REQUEST: Any = {"do": "run", "node": ""}


@pytest.fixture
def anchor(stepped: SteppedLoop, container: Container) -> Iterator[PlayedAnchor]:
    made = PlayedAnchor(stepped, container)
    yield made
    made.close()


class Caller:
    """Whoever connects to the socket; it sends what the test likes."""

    def __init__(self, anchor: PlayedAnchor) -> None:
        self._anchor = anchor
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(anchor.container.child(NODE_SOCKET))
        self.reader = wire.Reader(self.socket.fileno())

    def send(self, line: bytes | dict[str, Any], descriptors: Sequence[int]) -> None:
        data = line if isinstance(line, bytes) else json.dumps(line).encode()
        passed = array.array("i", descriptors)
        self.socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)] if descriptors else [])

    def next(self) -> Any:
        """The next message; None at the end."""
        return self._anchor.call(self.reader.next, anything)

    def answers(self) -> list[Any]:
        """All messages until the anchor hangs up."""
        said = []
        while message := self.next():
            said.append(message)
        return said


@pytest.fixture
def call(anchor: PlayedAnchor) -> Iterator[Any]:
    made: list[Caller] = []

    def connect() -> Caller:
        made.append(Caller(anchor))
        return made[-1]

    yield connect
    for caller in made:
        caller.socket.close()


@pytest.fixture
def file() -> Iterator[Any]:
    made: list[int] = []

    def write(data: bytes) -> int:
        made.append(os.memfd_create("request"))
        os.write(made[-1], data)
        return made[-1]

    yield write
    for descriptor in made:
        os.close(descriptor)


@pytest.fixture
def nothing() -> Iterator[int]:
    descriptor = os.open(os.devnull, os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def works(anchor: PlayedAnchor) -> None:
    """The anchor serves callers still."""
    anchor.played[0].run = lambda _words: (0, "here")
    assert anchor.call(node_client.run, anchor.container, "/bin/true") == {"n1": Answer(0, "here")}


# --- commands on the nodes


def test_each_node_runs_a_command_once_and_answers(anchor: PlayedAnchor) -> None:
    anchor.record["tasks"] = 3
    anchor.running()
    two = anchor.ready("n2")
    anchor.ready("n2", 1)
    anchor.played[0].run = lambda words: (3, " ".join(words))
    two.run = lambda words: (0, f"{len(words)} \udcff")
    answers = anchor.call(node_client.run, anchor.container, "/bin/x", "a b", "")
    assert answers == {"n1": Answer(3, "/bin/x a b "), "n2": Answer(0, "3 \ufffd")}
    assert list(answers) == ["n1", "n2"]
    assert anchor.played[2].commands == []


def test_pids_come_from_all_agents_on_a_node(anchor: PlayedAnchor) -> None:
    anchor.record["tasks"] = 3
    anchor.running()
    anchor.ready("n1", 1)
    anchor.ready("n2")
    for node, pids in zip(anchor.played, ("12 7", "101 9", "5"), strict=True):
        node.run = lambda words, pids=pids: (0, pids if words == ["@members"] else " ".join(words))  # type: ignore[misc]
    answers = anchor.call(node_client.run, anchor.container, "echo", messages.MEMBERS, "@MEMBERSx")
    assert answers == {"n1": Answer(0, "echo 7 9 12 101 @MEMBERSx"), "n2": Answer(0, "echo 5 @MEMBERSx")}


def test_a_node_without_pids_answers_with_its_reason(
    anchor: PlayedAnchor,
) -> None:
    anchor.record["tasks"] = 2
    anchor.running()
    anchor.ready("n2")
    anchor.played[0].run = lambda _words: (126, "no such file or directory")
    anchor.played[1].run = lambda words: (0, "5" if words == ["@members"] else "ran")
    answers = anchor.call(node_client.run, anchor.container, "echo", messages.MEMBERS)
    assert answers == {"n1": Answer(126, "no such file or directory"), "n2": Answer(0, "ran")}
    assert len(anchor.played[0].commands) == 1


def test_a_node_lost_while_telling_pids_still_answers(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    node.run = lambda _words: None
    calling = Calling(node_client.run, anchor.container, "echo", messages.MEMBERS)
    anchor.until(lambda: bool(node.commands))
    node.fake.die()
    anchor.until(lambda: not calling.is_alive())
    assert calling.result() == {"n1": Answer(255, "the connection to the node was lost")}


def test_only_the_containers_own_nodes_can_be_chosen(anchor: PlayedAnchor) -> None:
    anchor.record["tasks"] = 2
    anchor.running()
    anchor.ready("n2")

    def on(node: str) -> Any:
        return anchor.call(lambda: node_client.run(anchor.container, "true", node=node))

    assert on("n2") == {"n2": Answer(0, "")}
    with pytest.raises(NodeRuntimeError, match=r"^nothing of the container runs on n3$"):
        on("n3")


def test_simultaneous_callers_each_get_their_own_answer(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    node.run = lambda _words: None
    calling = [Calling(node_client.run, anchor.container, "echo", str(number)) for number in range(20)]
    anchor.until(lambda: len(node.commands) == 20)
    assert sorted(int(words[1]) for words in node.commands) == [*range(20)]
    for number, words in enumerate(node.commands, 1):
        node.end(number, 0, words[1])
    anchor.until(lambda: not any(one.is_alive() for one in calling))
    assert [one.result()["n1"].text for one in calling] == [str(number) for number in range(20)]


def test_an_unread_answer_does_not_stop_the_anchor(anchor: PlayedAnchor, call: Any, file: Any) -> None:
    node = anchor.running()
    long = "x" * 3_000_000

    def run(words: list[str]) -> tuple[int, str] | None:
        return None if words == ["long"] else (0, "here")

    node.run = run
    caller = call()
    caller.send(RUN_REQUEST, [file(b"long")])
    anchor.until(lambda: node.commands == [["long"]])
    for at in range(0, len(long), 60000):
        node.fake.send(DATA, 5, long[at : at + 60000].encode())
        hears(anchor.loop, node.fake, CREDIT, 5, at // 60000 + 1)
    node.end(1, 0)
    works(anchor)
    assert caller.answers() == [{"answers": {"n1": [0, long]}}]


def test_a_container_ending_while_asked_says_so(anchor: PlayedAnchor) -> None:
    node = anchor.running()
    node.run = lambda _words: None
    calling = Calling(node_client.run, anchor.container, "echo")
    anchor.until(lambda: bool(node.commands))
    anchor.side.close()
    anchor.until(lambda: not calling.is_alive())
    with pytest.raises(NodeRuntimeError, match=r"^the container has ended meanwhile$"):
        calling.result()


def test_a_container_runs_only_during_its_step(anchor: PlayedAnchor) -> None:
    del anchor.record["step"]
    with pytest.raises(NodeRuntimeError, match=r"^container 'box' does not run yet$"):
        node_client.run(anchor.container, "true")
    anchor.record["step"] = "3"
    with pytest.raises(NodeRuntimeError, match=r"^container 'box' is not running any more$"):
        node_client.run(anchor.container, "true")


def test_nothing_runs_before_the_agent_is_there(anchor: PlayedAnchor) -> None:
    anchor.connect().begin()
    with pytest.raises(NodeRuntimeError, match=r"^nothing of the container runs on its nodes$"):
        anchor.call(node_client.run, anchor.container, "true")


def test_a_killed_anchor_is_no_answer(anchor: PlayedAnchor) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(anchor.container.child(NODE_SOCKET))
    listening.listen()
    calling = Calling(node_client.run, anchor.container, "true")
    listening.accept()[0].close()
    listening.close()
    anchor.until(lambda: not calling.is_alive())
    with pytest.raises(NodeRuntimeError, match=r"container 'box' (ended while its nodes were asked|is not running)"):
        calling.result()


# --- exec


def test_a_leaving_caller_kills_only_its_own_process(anchor: PlayedAnchor, call: Any, file: Any, nothing: int) -> None:
    node = anchor.running()
    callers = [call(), call()]
    for caller in callers:
        caller.send(EXEC_REQUEST, [nothing, nothing, nothing, file(b"{}")])
    anchor.until(lambda: len(node.execs) == 2)
    for number, _process, _frame in node.execs:
        node.started(number)
    assert [caller.next() for caller in callers] == [{"started": True}] * 2
    callers[0].socket.close()
    anchor.until(lambda: bool(node.signals))
    assert node.signals == [(node.execs[0][0], 9, False)]
    node.end(node.execs[1][0], 7)
    assert callers[1].answers() == [{"do": "exit", "status": 7}]


def test_a_caller_leaving_before_start_kills_its_process(
    anchor: PlayedAnchor, call: Any, file: Any, nothing: int
) -> None:
    node = anchor.running()
    caller = call()
    caller.send(EXEC_REQUEST, [nothing, nothing, nothing, file(b"{}")])
    anchor.until(lambda: bool(node.execs))
    caller.socket.close()
    anchor.until(lambda: bool(node.signals))
    assert node.signals == [(1, 9, False)]


def test_an_ended_process_being_read_gets_no_signal(anchor: PlayedAnchor, call: Any, file: Any, nothing: int) -> None:
    node = anchor.running()
    reads, writes = os.pipe()
    caller = call()
    caller.send(EXEC_REQUEST, [nothing, writes, nothing, file(b"{}")])
    os.close(writes)
    anchor.until(lambda: bool(node.execs))
    node.started(1)
    node.fake.send(DATA, 5, b"x" * 65536 + b"")
    node.fake.send(DATA, 5, b"x" * 65536)
    node.end(1, 0)
    assert caller.next() == {"started": True}
    anchor.loop.settle()
    caller.socket.close()
    anchor.loop.settle()
    assert node.signals == []
    os.close(reads)


def test_what_the_stand_in_says_reaches_its_process(anchor: PlayedAnchor, call: Any, file: Any, nothing: int) -> None:
    node = anchor.running()
    caller = call()
    caller.send({**EXEC_REQUEST, "terminal": True, "size": [24, 80]}, [nothing, nothing, nothing, file(b"{}")])
    (frame,) = hears(anchor.loop, node.fake, EXEC)
    assert frame.payload == struct.pack(">BHH", 1, 24, 80)
    anchor.until(lambda: bool(node.execs))
    node.started(1)
    assert caller.next() == {"started": True}
    caller.send(b'{"do": "resize", "rows": 33, "columns": 99}\n{"do": "kill", "signal": 10}\n', [])
    assert hears(anchor.loop, node.fake, RESIZE, 4)[0].payload == struct.pack(">HH", 33, 99)
    anchor.until(lambda: bool(node.signals))
    assert node.signals == [(1, 10, False)]


@pytest.mark.parametrize(
    "line",
    [
        *(b"\n", b"{}\n", b"[]\n", b"\xff\n", b'{"do": "exec"}\n', b"[" * 5000 + b"\n"),
        *(b'{"do": "kill", "signal": -1}\n', b'{"do": "kill", "signal": 99999999999}\n', b'{"do": "kill"}\n'),
        *(b'{"do": "kill", "signal": 1e300}\n', b'{"do": "kill", "signal": true}\n'),
        *(b'{"do": "resize", "rows": -1, "columns": 1}\n', b'{"do": "resize", "rows": 1, "columns": 65536}\n'),
    ],
)
def test_a_misbehaving_stand_in_loses_only_its_process(
    line: bytes, anchor: PlayedAnchor, call: Any, file: Any, nothing: int
) -> None:
    node = anchor.running()
    caller = call()
    caller.send(EXEC_REQUEST, [nothing, nothing, nothing, file(b"{}")])
    anchor.until(lambda: bool(node.execs))
    node.started(1)
    assert caller.next() == {"started": True}
    caller.send(line, [])
    anchor.until(lambda: bool(node.signals))
    assert node.signals == [(1, 9, False)]
    assert caller.answers() == []
    works(anchor)


def test_an_agents_limit_of_processes_can_run_together(
    anchor: PlayedAnchor, call: Any, file: Any, nothing: int
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard < 8192 else 8192, hard))
    node = anchor.running()
    data = file(b"{}")
    callers = []
    for number in range(255):
        callers.append(call())
        callers[-1].send(EXEC_REQUEST, [nothing, nothing, nothing, data])
        anchor.until(lambda number=number: len(node.execs) == number + 1)  # type: ignore[misc]
    one_more = call()
    one_more.send(EXEC_REQUEST, [nothing, nothing, nothing, data])
    (answer,) = one_more.answers()
    assert answer["message"] == "255 processes of exec run in the container: try again when one has ended"
    node.failed("s", 11, number=1)
    assert callers[0].answers()[0]["error"] == "NodeRuntimeError"
    for caller in callers:
        caller.socket.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- callers that are no callers of ours

BAD = {
    "nothing": (b"\n", 1, "can't read that request"),
    "no JSON": (b"run", 1, "can't read that request"),
    "no ASCII": (b'{"do": "run", "node": "\xc3\xa4"}', 1, "can't read that request"),
    "nested": (b"[" * 30000, 1, "can't read that request"),
    "no request": (b'{"do": "dance"}', 1, "can't read that request"),
    "a member of another type": (b'{"do": "run", "node": 7}', 1, "can't read that request"),
    "no size": ({**EXEC_REQUEST, "size": []}, 4, "its size is two numbers"),
    "a size of words": ({**EXEC_REQUEST, "size": ["a", "b"]}, 4, "its size is two numbers"),
    "a negative size": ({**EXEC_REQUEST, "size": [-1, 0]}, 4, "its size is two numbers"),
    "a size that no terminal has": ({**EXEC_REQUEST, "size": [0, 65536]}, 4, "its size is two numbers"),
    "a run without its file": (RUN_REQUEST, 0, "it has not the descriptors that it needs"),
    "a run with two files": (RUN_REQUEST, 2, "it has not the descriptors that it needs"),
    "an exec without its input": (EXEC_REQUEST, 3, "it has not the descriptors that it needs"),
    "an exec with five descriptors": (EXEC_REQUEST, 5, "it has more descriptors than it needs"),
    "an exec with a hundred": (EXEC_REQUEST, 100, "it has more descriptors than it needs"),
    "an exec of another node": ({**EXEC_REQUEST, "node": "n9"}, 4, "nothing of the container runs on n9"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_refused_leaving_nothing_open(name: str, anchor: PlayedAnchor, call: Any, file: Any) -> None:
    anchor.running()
    line, count, said = BAD[name]
    data = file(b"{}")
    works(anchor)
    before = len(open_files.descriptors())
    caller = call()
    caller.send(line, [data] * count)
    (answer,) = caller.answers()
    assert said in answer["message"]
    caller.socket.close()
    anchor.loop.settle()
    assert len(os.listdir("/proc/self/fd")) == before
    assert anchor.played[0].execs == []
    works(anchor)


@pytest.mark.parametrize("kind", ["pipe", "socket", "directory", "path"])
def test_a_descriptor_that_is_no_file_is_refused(kind: str, anchor: PlayedAnchor, call: Any, tmp_path: Any) -> None:
    anchor.running()
    ends = {"pipe": os.pipe, "socket": wire.pair}.get(kind)
    opened = list(ends()) if ends else [os.open(tmp_path, os.O_PATH if kind == "path" else os.O_RDONLY)]
    caller = call()
    caller.send(RUN_REQUEST, opened[:1])
    (answer,) = caller.answers()
    assert "the anchor can't read that request" in answer["message"]
    for descriptor in opened:
        os.close(descriptor)
    works(anchor)


def test_a_request_that_is_too_large_is_refused(anchor: PlayedAnchor, call: Any, file: Any, nothing: int) -> None:
    node = anchor.running()
    large = file(b"")
    os.ftruncate(large, node_requests._LARGEST_FILE + 1)
    for request, descriptors in ((RUN_REQUEST, [large]), (EXEC_REQUEST, [nothing, nothing, nothing, large])):
        caller = call()
        caller.send(request, descriptors)
        (answer,) = caller.answers()
        assert answer["message"] == "the request has more than 16777216 bytes: give it less"
    assert (node.execs, node.commands) == ([], [])


def test_a_caller_that_says_nothing_keeps_nobody_waiting(anchor: PlayedAnchor, call: Any) -> None:
    anchor.running()
    silent = call()
    works(anchor)
    gone = call()
    gone.socket.close()
    works(anchor)
    anchor.side.close()
    assert [answer["error"] for answer in silent.answers()] == ["NodeRuntimeError"]


def test_more_callers_than_are_served_are_told_so(
    anchor: PlayedAnchor, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_requests, "_MOST", 2)
    anchor.running()
    idle = [call(), call()]
    anchor.loop.settle()
    assert call().answers() == [{"error": "ScrunError", "message": "2 callers at once: try again"}]
    idle[0].socket.close()
    anchor.loop.settle()
    works(anchor)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_is_not_heard(anchor: PlayedAnchor, fork: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4242)  # the anchor's user; the caller is root then: it is heard
    anchor.running()
    works(anchor)
    os.chmod(anchor.container.child(NODE_SOCKET), 0o777)
    os.chmod(anchor.container.path, 0o755)
    here = socket.socketpair()

    def stranger() -> int:
        connection = socket.socket(socket.AF_UNIX)
        os.chdir(anchor.container.path)
        os.setuid(4343)
        connection.connect(NODE_SOCKET)
        here[1].send(connection.recv(100) + b"end")
        return 0

    fork(stranger)
    anchor.until(lambda: bool(select.select([here[0]], [], [], 0)[0]))
    assert here[0].recv(100) == b"end"
    for one in here:
        one.close()
    works(anchor)
