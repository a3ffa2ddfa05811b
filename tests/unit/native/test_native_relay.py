"""Relays that hand a stream on to each other, over connections that they open between themselves."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from builds import built

from native.conftest import SANITIZERS

DATA = os.urandom(9 << 20)  # more than a relay keeps


@pytest.fixture(scope="module")
def program() -> Path:
    """The program with the sanitizers, a small ring and little patience."""
    return built("native", *SANITIZERS, "-DRELAY_RING=1048576", "-DRELAY_STALL=1500")


_RUN = 'exec 3<&"$1"; program=$2; PATH=${program%/*}; exec scrun-node relay'


class Relay:
    """A relay, and login's end of its connection."""

    def __init__(self, program: Path, key: str) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        theirs = socket.create_connection(listener.getsockname())
        self.login, _ = listener.accept()
        listener.close()
        read_end, write_end = os.pipe()
        self.process = subprocess.Popen(
            ["bash", "-c", _RUN, "bash", str(theirs.fileno()), str(program)],
            stdin=read_end,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        os.close(read_end)
        os.write(write_end, f"{key}\n".encode())
        os.close(write_end)
        self.port = 0

    def told(self) -> str:
        """Where it listens."""
        word, port = self.login.makefile().readline().split()
        assert word == "relay"
        self.port = int(port)
        return f"127.0.0.1 {port}"

    def order(self, text: str) -> None:
        self.login.sendall(f"{text}\n".encode())

    def close(self) -> None:
        self.login.close()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def relays(program: Path) -> Iterator[list[Relay]]:
    """Three of one key: the first is fed by login, the second by the first, the third by the second."""
    key = secrets.token_hex(32)
    three = [Relay(program, key) for _ in range(3)]
    yield three
    for relay in three:
        relay.close()


def feed(relay: Relay, data: bytes) -> threading.Thread:
    """Send all of it in the background, as login does."""

    def send() -> None:
        with contextlib.suppress(OSError):
            relay.login.sendall(data)
            relay.login.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


def in_a_row(relays: list[Relay]) -> None:
    places = [relay.told() for relay in relays]
    for index, relay in enumerate(relays):
        fed = int(index + 1 < len(relays))
        relay.order(f"take {fed} {'-' if index == 0 else places[index - 1]}")


def received(relay: Relay) -> bytes:
    assert relay.process.stdout
    return relay.process.stdout.read()


def test_each_has_the_whole_stream(relays: list[Relay]) -> None:
    in_a_row(relays)
    feed(relays[0], DATA)
    with ThreadPoolExecutor() as readers:
        assert [output == DATA for output in readers.map(received, relays)] == [True] * 3
    assert [relay.process.wait(20) for relay in relays] == [0, 0, 0]


def test_who_takes_nothing_is_dropped(relays: list[Relay]) -> None:
    first, second, third = relays
    in_a_row(relays)
    feed(first, DATA)
    # Nobody reads what the third one writes, so the second can't hand on more than its ring, nor can the first to it.
    assert received(first) == DATA
    assert received(second) != b""
    assert first.process.wait(20) == 0
    third.close()


def test_who_takes_nothing_at_the_end_is_dropped() -> None:
    key, data = secrets.token_hex(32), bytes(12 << 20)
    # The sockets hold less, the ring more.
    program = built("native", *SANITIZERS, "-DRELAY_RING=16777216", "-DRELAY_STALL=1500")
    first, second = Relay(program, key), Relay(program, key)
    in_a_row([first, second])
    first.login.sendall(data[:1])
    assert first.process.stdout
    assert first.process.stdout.read(1) == b"\0"  # the second has come
    second.process.send_signal(signal.SIGSTOP)
    feed(first, data[1:])
    assert received(first) == data[1:]
    assert first.process.wait(20) == 0
    first.close()
    second.close()


def test_a_killed_one_cuts_off_those_below(relays: list[Relay]) -> None:
    in_a_row(relays)
    relays[0].login.sendall(DATA[: 1 << 19])
    assert relays[2].process.stdout
    relays[2].process.stdout.read(1 << 18)  # all are connected
    relays[1].process.kill()
    feed(relays[0], DATA[1 << 19 :])
    assert received(relays[0]) == DATA
    assert len(received(relays[2])) < 1 << 20
    assert relays[0].process.wait(20) == 0


def shake_hands(relay: Relay, key: bytes) -> socket.socket | None:
    """Connect as a child does; None if the relay hangs up."""
    connection = socket.create_connection(("127.0.0.1", relay.port))
    name, ours, received = os.urandom(16), os.urandom(32), bytes(8)
    connection.sendall(b"scrun\0\0\1" + name + ours)
    theirs = connection.recv(64, socket.MSG_WAITALL)

    def mac(letter: bytes, rest: bytes) -> bytes:
        return hmac.digest(key, letter + name + ours + theirs[:32] + rest, hashlib.sha256)

    connection.sendall(received + mac(b"N", received))
    answer = connection.recv(40, socket.MSG_WAITALL)
    if not answer:
        connection.close()
        return None
    assert theirs[32:] == mac(b"L", b"")
    assert answer[8:] == mac(b"R", answer[:8])
    return connection


def test_strangers_get_nothing_and_keep_no_child_out(program: Path) -> None:
    key = secrets.token_hex(32)
    relay = Relay(program, key)
    relay.told()
    relay.order("take 1 -")
    strangers = [socket.create_connection(("127.0.0.1", relay.port)) for _ in range(40)]
    for stranger in strangers[:20]:
        stranger.sendall(b"x" * 50)
    assert shake_hands(relay, secrets.token_bytes(32)) is None
    child = shake_hands(relay, bytes.fromhex(key))
    assert child
    feed(relay, b"stream")
    assert child.makefile("rb").read() == b"stream"
    assert received(relay) == b"stream"
    for one in (child, *strangers):
        one.close()
    relay.close()


@pytest.mark.parametrize(
    "order", ["", "take", "take 9 -", "take x -", "take 0 nowhere", "take 0 127.0.0.1 99999", "x" * 200, "give 0 -"]
)
def test_an_order_that_is_none_is_refused(program: Path, order: str) -> None:
    relay = Relay(program, secrets.token_hex(32))
    relay.told()
    relay.order(order)
    assert relay.process.wait(20) == 1
    assert received(relay) == b""
    relay.close()


@pytest.mark.parametrize("key", ["", "00", "g" * 64, "0" * 65, "0" * 200])
def test_a_key_that_is_none_is_refused(program: Path, key: str) -> None:
    relay = Relay(program, key)
    assert relay.process.wait(20) == 1
    relay.close()


def test_a_parent_of_another_key_is_not_believed(program: Path) -> None:
    parent, child = (Relay(program, secrets.token_hex(32)) for _ in range(2))
    place = parent.told()
    child.told()
    parent.order("take 1 -")
    child.order(f"take 0 {place}")
    assert child.process.wait(20) == 1
    assert received(child) == b""
    for relay in (parent, child):
        relay.close()
