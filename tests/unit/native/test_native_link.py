"""The handshake, and what happens when the connection breaks."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from .conftest import MakeNode
from .login_side import ACK, ANSWER, CREDIT, DATA, DONE, EOF, SIGNAL, Login


def failure(node: MakeNode, answer: str) -> str:
    """What the hook says when login answers so."""
    one = node("true")
    one.run_hook()
    connection, _ = one.login.listener.accept()
    with connection:
        first = connection.recv(56, socket.MSG_WAITALL)
        if answer == "nonsense":
            connection.sendall(os.urandom(64))
        if answer == "an echo":
            connection.sendall(first + first[:8])
        if answer == "its end":
            connection.close()
        assert one.hook
        _, said = one.hook.communicate(timeout=20)
    assert one.hook.returncode == 1
    assert not one.place.exists()
    return said.removeprefix(
        f"scrun-node: this node cannot connect to the login host at 127.0.0.1 port {one.login.port}: "
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("nonsense", "Key was rejected by service\n"),
        ("an echo", "Key was rejected by service\n"),
        ("its end", "Connection reset by peer\n"),
        ("silence", "Connection timed out\n"),
    ],
)
def test_who_does_not_prove_the_key_gets_nothing(node: MakeNode, answer: str, said: str) -> None:
    assert failure(node, answer) == said


def test_another_key(node: MakeNode) -> None:
    one = node("true")
    one.settings["key"] = os.urandom(32).hex()
    one.run_hook()
    with pytest.raises((EOFError, OSError)):
        one.login.accept()
    assert one.hook
    assert "Key was rejected" in one.hook.communicate(timeout=20)[1]


@pytest.fixture
def deaf() -> Iterator[str]:
    """An address and a port that don't answer at all, as behind a firewall: the listener's queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.2", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.2", port))
        yield f"127.0.0.2 {port}"


def test_a_deaf_address_holds_nothing_up(node: MakeNode, deaf: str) -> None:
    """Its own attempt would take ten minutes here; so would the one for a new connection."""
    one = node("sleep", "10")
    one.login.close()
    one.login = Login(one.key, "127.0.0.2")
    one.settings["address"] = f"{deaf}\naddress 127.0.0.2 {one.login.port}\naddress {deaf}"
    one.begin().start()
    one.login.cut()
    one.login.accept()
    one.login.signal(signal.SIGTERM)
    one.finish()


def test_a_stranger_on_the_node_is_not_asked(node: MakeNode, deaf: str) -> None:
    """Anybody may listen at the loopback address, which is tried when the others have failed."""
    one = node("true")
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        one.settings["address"] = f"{deaf}\naddress 127.0.0.1 {stranger.getsockname()[1]}"
        one.run_hook()
        stranger.settimeout(1)
        with pytest.raises(TimeoutError):
            stranger.accept()
    assert one.hook
    os.killpg(one.hook.pid, signal.SIGKILL)
    one.hook.communicate()


def test_the_first_address_says_what_is_wrong(node: MakeNode, deaf: str) -> None:
    one = node("true")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        one.settings["address"] = f"127.0.0.1 {free.getsockname()[1]}\naddress {one.settings['address']}"
        one.settings["key"] = os.urandom(32).hex()
        one.run_hook()
        with pytest.raises((EOFError, OSError)):
            one.login.accept()
        assert one.hook
        assert "Connection refused" in one.hook.communicate(timeout=20)[1]


def test_a_replayed_handshake_is_worth_nothing(node: MakeNode) -> None:
    one = node("true")
    said = []
    real = socket.socket.sendall

    class Tapped(socket.socket):
        def sendall(self, data: bytes) -> None:  # type: ignore[override]
            said.append(data)
            real(self, data)

    one.run_hook()
    listener = one.login.listener
    connection, _ = listener.accept()
    tapped = Tapped(fileno=connection.detach())

    class Once:
        def settimeout(self, _: float) -> None: ...
        def accept(self) -> tuple[socket.socket, None]:
            return tapped, None

    one.login.listener = Once()  # type: ignore[assignment]
    one.login.accept()
    one.login.listener = listener
    assert one.hook
    one.hook.wait(20)
    one.login.cut()
    again, _ = listener.accept()
    with again:
        again.recv(56, socket.MSG_WAITALL)
        again.sendall(said[0])
        assert again.recv(40) == b""  # the node says no more
    one.login.accept()  # it tries again


LINES = [b"line %d\n" % number for number in range(4)]
FRAME = 9 + len(LINES[0])


class Broken(Login):
    """A login whose connection is cut at given positions of what it sends, or of what it receives."""

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self.cuts_sent: list[int] = []
        self.cuts_received: list[int] = []
        self.times = 0

    def send(self, type_: int, stream: int = 0, payload: bytes = b"") -> None:
        begin = len(self.sent)
        self.sent += struct.pack(">IBI", len(payload), type_, stream) + payload
        if self.connection is None:
            return
        end = len(self.sent)
        if self.cuts_sent and self.cuts_sent[0] <= end:
            end = self.cuts_sent.pop(0)
            self._send(self.sent[begin:end])
            time.sleep(0.005)  # some of it arrives before the reset
            self.cut()
        else:
            self._send(self.sent[begin:end])

    def _send(self, data: bytes) -> None:
        assert self.connection
        try:
            self.connection.sendall(data)
        except OSError:
            self.cut()

    def exactly(self, size: int) -> bytes:
        if self.cuts_received and self.name and self.connection and self.received + size > self.cuts_received[0]:
            self.cuts_received.pop(0)
            self.cut()
            raise ConnectionResetError
        return super().exactly(size)

    def read_on(self) -> tuple[int, int, bytes]:
        """The next frame, over as many connections as it takes."""
        while True:
            try:
                self.connect()
                return self.read()
            except OSError:
                self.cut()

    def connect(self) -> None:
        """Take a new connection, if the old one is cut."""
        while self.connection is None:
            self.times += 1
            cuts, self.cuts_received = self.cuts_received, []
            self.accept()
            self.cuts_received = cuts


def echo(one_node: MakeNode, cuts_sent: list[int], cuts_received: list[int]) -> int:
    """Lines through cat and back, with the connection cut; the result is how many connections it took."""
    one = one_node("cat")
    one.login.close()
    login = Broken(one.key)
    one.login = login
    one.settings["address"] = f"127.0.0.1 {login.port}"
    one.begin()
    one.start()
    login.cuts_sent = [len(login.sent) + cut for cut in cuts_sent]
    login.cuts_received = [login.received + cut for cut in cuts_received]
    echoed = b""
    for line in LINES:
        login.connect()
        login.send(DATA, 0, line)
    login.send(EOF, 0)
    ended = False
    while not ended:
        type_, _, payload = login.read_on()
        echoed += payload if type_ == DATA else b""
        ended = type_ == DONE
    assert echoed == b"".join(LINES)
    login.send(14)
    login.connect()
    assert one.is_gone()
    return login.times


def test_a_broken_connection_loses_and_doubles_nothing_sent(node: MakeNode) -> None:
    """Cut at every byte of what login sends."""
    everywhere(node, [([cut, cut + FRAME, cut + 2 * FRAME, cut + 3 * FRAME], []) for cut in range(1, FRAME + 1)])


def test_a_broken_connection_loses_and_doubles_nothing_received(node: MakeNode) -> None:
    """Cut at every byte of what the agent sends, down to the last."""
    everywhere(node, [([], list(range(cut, 80, FRAME))) for cut in range(FRAME)])


def test_a_connection_that_breaks_both_ways(node: MakeNode) -> None:
    draw = random.Random(7)
    everywhere(node, [(draw.sample(range(1, 64), 1), sorted(draw.sample(range(60), 2))) for _ in range(12)])


def everywhere(node: MakeNode, plans: list[tuple[list[int], list[int]]]) -> None:
    failures: list[BaseException] = []
    taken: list[int] = []

    def run(plan: tuple[list[int], list[int]]) -> None:
        try:
            taken.append(echo(node, *plan))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(plan,)) for plan in plans]
    for first in range(0, len(threads), 12):
        for thread in threads[first : first + 12]:
            thread.start()
        for thread in threads[first : first + 12]:
            thread.join()
    assert not failures, failures[0]
    assert sum(taken) >= 2 * len(plans), "few were cut"


def test_what_is_written_while_it_is_broken_comes(node: MakeNode) -> None:
    one = node("sh", "-c", "read x; echo now; exec sleep 600").begin().start()
    one.login.send(DATA, 0, b"\n")
    one.login.cut()
    one.login.accept()
    assert one.login.wait(DATA, 1).payload == b"now\n"


def test_nothing_grows_while_it_is_broken(node: MakeNode) -> None:
    """Output waits in its pipe when 1 MiB is kept, and all of it comes."""
    one = node("sh", "-c", "head -c 5000000 /dev/zero").begin().start()
    one.login.acknowledging = False
    size, before = 0, -1
    for request in range(1000):  # an answer needs no room
        one.login.send(SIGNAL, 0, struct.pack(">IIB", request, 0, 0))
        while (frame := one.login.read()).type != ANSWER:
            size += len(frame.payload)
            one.login.send(CREDIT, 1, struct.pack(">I", len(frame.payload)))
        if size > 900_000 and size == before:
            break
        before = size
    assert size <= 1 << 20
    one.login.cut()
    one.login.acknowledging = True
    one.login.accept()
    one.login.send(ACK, 0, struct.pack(">Q", one.login.received))
    while True:
        frame = one.login.read()
        if frame.type == DATA:
            size += len(frame.payload)
            one.login.send(CREDIT, 1, struct.pack(">I", len(frame.payload)))
        if frame.type == DONE:
            break
    assert size == 5_000_000
    one.login.send(14)
    assert one.is_gone()


def test_patience_ends(node: MakeNode) -> None:
    one = node("sh", "-c", "sleep 600 & sleep 600", patience=1).begin().start()
    one.login.listener.close()
    one.login.cut()
    assert one.is_gone()
    assert one.first.wait(5) == -signal.SIGKILL


def test_agent_that_gives_up_cancels_the_job(node: MakeNode) -> None:
    one = node("sleep", "600", patience=0)
    scancel = one.directory / "scancel"
    scancel.write_text(f'#!/bin/sh\necho "$*" >{one.directory}/cancelled\n')
    scancel.chmod(0o755)
    one.environment["PATH"] = f"{one.directory}:{os.environ['PATH']}"
    one.settings["job"] = "4711"
    one.begin()
    one.login.cut()
    assert one.is_gone()
    assert (one.directory / "cancelled").read_text() == "4711\n"
    assert one.first.wait(5) == -signal.SIGKILL


def test_a_position_that_is_not_kept_ends_it(node: MakeNode) -> None:
    one = node("sleep", "600").begin().start()
    one.login.cut()
    one.login.received += 1
    one.login.accept()
    assert one.is_gone()


def test_an_acknowledgement_that_is_sent_again(node: MakeNode) -> None:
    one = node("sleep", "600").begin().start()
    first = one.login.received
    assert one.login.signal(0) == 0
    one.login.send(ACK, 0, struct.pack(">Q", one.login.received))
    one.login.send(ACK, 0, struct.pack(">Q", first))
    assert one.login.signal(0) == 0
    one.login.send(ACK, 0, struct.pack(">Q", one.login.received + 1))
    assert one.is_gone()


def test_a_second_address_is_tried(node: MakeNode) -> None:
    one = node("true")
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    one.settings["address"] = f"127.0.0.1 {port}\naddress 127.0.0.1 {one.login.port}"
    one.begin()
    assert one.login.connection


def test_only_the_address_that_has_answered_can_refuse(node: MakeNode) -> None:
    """127.0.0.1 may be among them, for nodes on the login host: elsewhere nobody listens there."""
    one = node("sleep", "600")
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    one.settings["address"] = f"127.0.0.1 {one.login.port}\naddress 127.0.0.1 {port}"
    one.begin().start()
    one.login.cut()
    for _ in range(4):
        one.login.connection, _ = one.login.listener.accept()
        one.login.cut()
    one.login.accept()
    assert one.login.signal(0) == 0
