"""The control socket: one request, one answer; nothing that a caller sends or fails to send harms the anchor."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from open_files import descriptors

from scrun.errors import AnchorSilent, ScrunError, UsageError, WrongStatus
from scrun.lifecycle.anchor import server as anchors_server
from scrun.lifecycle.container import client
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.process import wire
from scrun.lifecycle.process.loop import Loop

Message = Any  # as a test makes it
Answer = Callable[[Message], None]


class FakeAnchor:
    """Answers requests as the anchor does, and tells what it was asked."""

    loop: Loop

    def start(self, answer: Answer) -> None:
        answer({"started": True})

    def kill(self, number: int, answer: Answer) -> None:
        if number == 1:
            answer(wire.failure(WrongStatus("container not running")))
        else:
            answer({"sent": number})

    def waits_for(self) -> str:
        return "so much to do"

    def pause(self, answer: Answer) -> None:
        self.kill(0, answer)

    def resume(self, answer: Answer) -> None:
        self.kill(0, answer)

    def delete(self, answer: Answer) -> None:
        answer({"ended": True})


@pytest.fixture
def served(container: Container, fork: Callable[..., int]) -> Container:
    """A container whose anchor, in a child, takes requests."""
    _serve(container, fork)
    return container


def _serve(
    container: Container,
    fork: Callable[..., int],
    be: Callable[[], None] = lambda: None,
    anchor: FakeAnchor | None = None,
) -> None:
    """Have a child be its anchor; it does ``be`` first."""
    ready, tell = os.pipe()

    def serve() -> None:
        be()
        anchors = anchor or FakeAnchor()
        anchors.loop = Loop()
        server = anchors_server.serve(anchors.loop, container, anchors, -1)
        os.write(tell, b".")
        anchors.loop.run()
        server.answer_rest()

    fork(serve)
    os.read(ready, 1)
    os.close(ready)
    os.close(tell)


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ({"do": "start"}, {"started": True}),
        ({"do": "kill", "signal": 15}, {"sent": 15}),
        ({"do": "delete"}, {"ended": True}),
    ],
)
def test_a_request_gets_its_answer(request_: Message, answer: Message, served: Container) -> None:
    assert client.ask(served, request_) == answer


def test_an_error_is_raised_at_the_callers(served: Container) -> None:
    with pytest.raises(WrongStatus, match=r"^container not running$"):
        client.ask(served, {"do": "kill", "signal": 1})


@pytest.mark.parametrize(
    "request_", [{"do": "dance"}, {}, {"do": None}, {"do": "kill"}, {"do": "kill", "signal": "x"}, {"do": []}]
)
def test_an_unknown_request_does_not_stop_the_next(request_: Message, served: Container) -> None:
    with pytest.raises(UsageError):
        client.ask(served, request_)
    assert client.ask(served, {"do": "start"}) == {"started": True}


class Slow(FakeAnchor):
    """One whose loop stops when it is asked for something, as when the container has ended before that was done."""

    def kill(self, number: int, answer: Answer) -> None:
        self.loop.stop()


@pytest.mark.parametrize("request_", [{"do": "kill", "signal": 15}, {"do": "resume"}])
def test_those_still_waiting_at_the_end_are_answered(
    request_: Message, container: Container, fork: Callable[..., int]
) -> None:
    _serve(container, fork, anchor=Slow())
    with _connect(container) as silent, _connect(container):
        assert client.ask(container, request_) == {"ended": True}
        assert silent.recv(1) == b""  # it asked nothing


def test_what_has_ended_meanwhile_is_not_paused(container: Container, fork: Callable[..., int]) -> None:
    _serve(container, fork, anchor=Slow())
    with pytest.raises(WrongStatus, match=r"^container not running: it has ended meanwhile$"):
        client.ask(container, {"do": "pause"})


def _connect(container: Container) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(container.child("anchor.sock"))
    return connection


@pytest.mark.parametrize(
    "data", [b"", b"garbage\n", b'{"do": "st', b"\xff\xfe\n", b"[]\n", b"7\n", b"\n", b'{"do": "start"}\n' * 50]
)
def test_a_bad_caller_does_not_stop_the_next(data: bytes, served: Container) -> None:
    with _connect(served) as connection:
        connection.sendall(data)
    assert client.ask(served, {"do": "start"}) == {"started": True}


BAD = {
    "no JSON": b"garbage",
    "no text": b"\xff\xfe",
    "deep": b"[" * 60_000,
    "deeper": b'{"do":"kill","signal":' * 2_500,
    "no object": b"[]",
    "infinite": b'{"do":"kill","signal":1e400}',
    "not a number": b'{"do":"kill","signal":NaN}',
    "above": b'{"do":"kill","signal":65}',
    "far above": b'{"do":"kill","signal":99999}',
    "below": b'{"do":"kill","signal":-1}',
    "fraction": b'{"do":"kill","signal":9.0}',
    "text": b'{"do":"kill","signal":"9"}',
    "true": b'{"do":"kill","signal":true}',
    "list": b'{"do":["kill"],"signal":9}',
    "twice": b'{"do":"kill","signal":9}\n{"do":"kill","signal":9}',
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_a_bad_message_is_answered_before_hanging_up(data: bytes, served: Container) -> None:
    with _connect(served) as connection:
        connection.sendall(data + b"\n")
        answer = connection.makefile().read()
    assert answer.startswith('{"error": "UsageError", "message": "the anchor can\'t read that request: ')
    assert answer.count("\n") == 1
    assert client.ask(served, {"do": "kill", "signal": 64}) == {"sent": 64}


def test_an_endless_message_is_hung_up_on(served: Container) -> None:
    with _connect(served) as connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(b"[" * 400_000)
        assert connection.recv(1) == b""
    assert client.ask(served, {"do": "start"}) == {"started": True}


def test_a_second_request_ends_the_connection(container: Container, fork: Callable[..., int]) -> None:
    _serve(container, fork, anchor=Busy())
    with _connect(container) as connection:
        connection.sendall(b'{"do": "kill", "signal": 15}\n')
        assert client.ask(container, {"do": "ping"})
        connection.sendall(b'{"do": "kill", "signal": 15}\n')
        assert "one connection is for one request" in connection.makefile().read()


def test_too_many_silent_callers_keep_nobody_out(served: Container) -> None:
    with contextlib.ExitStack() as silent:
        for _ in range(300):
            silent.enter_context(_connect(served))
        assert client.ask(served, {"do": "start"}) == {"started": True}


def test_who_says_nothing_keeps_nobody_else_waiting(served: Container) -> None:
    with _connect(served), _connect(served):
        assert client.ask(served, {"do": "start"}) == {"started": True}


def test_a_request_may_arrive_in_pieces(served: Container) -> None:
    with _connect(served) as connection:
        for byte in b'{"do": "start"}\n':
            connection.sendall(bytes([byte]))
        assert connection.makefile().readline() == '{"started": true}\n'


def test_without_an_anchor_there_is_no_answer(container: Container) -> None:
    assert client.ask(container, {"do": "start"}) is None
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(container.child("anchor.sock"))  # the socket of an anchor that was killed
    assert client.ask(container, {"do": "start"}) is None


def test_asking_without_an_anchor_leaves_no_descriptor_open(container: Container) -> None:
    before = descriptors()
    client.ask(container, {"do": "start"})
    assert os.listdir("/proc/self/fd") == before


def test_an_anchor_that_goes_away_answers_nothing(container: Container, fork: Callable[..., int]) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(container.child("anchor.sock"))
    listening.listen()

    def hang_up() -> None:
        connection, _ = listening.accept()
        connection.recv(100)
        connection.close()

    fork(hang_up)
    listening.close()
    assert client.ask(container, {"do": "start"}) is None


def test_what_is_no_socket_is_no_anchor(container: Container) -> None:
    os.mkdir(container.child("anchor.sock"))
    assert client.ask(container, {"do": "start"}) is None


class Busy(FakeAnchor):
    """One that needs some time for a signal."""

    def kill(self, number: int, answer: Answer) -> None:
        self.loop.after(0.3, lambda: answer({"sent": number}))


def test_an_answer_may_take_long_between_answered_pings(container: Container, fork: Callable[..., int]) -> None:
    _serve(container, fork, anchor=Busy())
    said: list[str] = []
    request: Message = {"do": "kill", "signal": 15}
    assert client.ask(container, request, patience=0.05, silence=10, waits=said.append) == {"sent": 15}
    assert said == ["so much to do"], "once"


def test_an_older_scruns_anchor_is_recognized(
    container: Container, fork: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve = anchors_server._Connection._serve

    def without_ping(self: anchors_server._Connection, message: Message) -> None:
        serve(self, {"do": "unknown"} if message["do"] == "ping" else message)

    monkeypatch.setattr(anchors_server._Connection, "_serve", without_ping)
    _serve(container, fork, anchor=Busy())
    assert client.ask(container, {"do": "kill", "signal": 15}, patience=0.05, silence=10) == {"sent": 15}


def test_an_unknown_answer_is_an_error_in_words(container: Container, fork: Callable[..., int]) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(container.child("anchor.sock"))
    listening.listen()

    def answer() -> None:
        connection, _ = listening.accept()
        connection.recv(100)
        connection.sendall(b'{"well": "done"}\n')

    fork(answer)
    listening.close()
    with pytest.raises(ScrunError, match=r"^can't ask the anchor of container 'box': .* another version\?$"):
        client.ask(container, {"do": "start"})


@pytest.mark.parametrize("waiting", [0, 10])
def test_a_hanging_anchor_differs_from_a_busy_one(container: Container, waiting: int) -> None:
    with socket.socket(socket.AF_UNIX) as listening, contextlib.ExitStack() as others:
        listening.bind(container.child("anchor.sock"))
        listening.listen(5)
        for _ in range(waiting):  # more than are let in
            one = others.enter_context(socket.socket(socket.AF_UNIX))
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect(container.child("anchor.sock"))
        before = descriptors()
        with pytest.raises(
            AnchorSilent, match=r"'box' doesn't answer: .* scrun delete --force box ends it all the same"
        ):
            client.ask(container, {"do": "start"}, patience=0.05, silence=0.05)
        assert os.listdir("/proc/self/fd") == before


def test_a_request_wakes_a_stopped_anchor(container: Container, fork: Callable[..., int], tmp_path: Path) -> None:
    _serve(container, fork)
    (child,) = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    os.kill(int(child), signal.SIGSTOP)
    os.waitpid(int(child), os.WUNTRACED)
    opened = Container.open(str(tmp_path / "root"), "box")  # by a caller who doesn't share the anchor's lock
    assert client.ask(opened, {"do": "start"}, patience=0.05, silence=10) == {"started": True}
    os.close(opened.descriptor)


NOBODY = 65534


@pytest.fixture
def open_to_all(served: Container) -> Container:
    """One whose directory and socket let everybody in, as they never do: the anchor alone keeps others out."""
    os.chmod(served.path, 0o755)
    os.chmod(served.child("anchor.sock"), 0o777)
    return served


def _answered(container: Container, user: int) -> int:
    """Ask as that user, in a process of one's own: 1 when the anchor answers, 0 when it hangs up."""
    os.fchdir(container.descriptor)
    os.setuid(user)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("anchor.sock")
        try:
            connection.sendall(b'{"do": "start"}\n')
            return int(connection.recv(100) == b'{"started": true}\n')
        except (BrokenPipeError, ConnectionResetError):
            return 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
@pytest.mark.parametrize(("user", "answered"), [(0, 1), (NOBODY, 0)])
def test_only_the_containers_own_user_gets_an_answer(
    user: int, answered: int, open_to_all: Container, fork: Callable[..., int], exit_code: Callable[[int], int]
) -> None:
    assert exit_code(fork(_answered, open_to_all, user)) == answered


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_root_gets_an_answer_from_anybodys_container(container: Container, fork: Callable[..., int]) -> None:
    os.chown(container.path, NOBODY, NOBODY)

    def be_nobody() -> None:
        os.setuid(NOBODY)
        # By its path of /proc nobody may go through root's descriptors.
        os.fchdir(container.descriptor)
        container.child = lambda name: name  # type: ignore[method-assign]

    _serve(container, fork, be_nobody)
    assert client.ask(container, {"do": "start"}) == {"started": True}
