"""Frames that no honest login sends: whatever comes, the agent may only end the connection. The same ones each time."""

from __future__ import annotations

import os
import random
import signal
import socket
import struct

import pytest

from .conftest import MakeNode, Node
from .login_side import (
    ACK,
    BYE,
    CLOSED,
    CONTINUE,
    CREDIT,
    DATA,
    EOF,
    EXEC,
    PART,
    READY,
    RESIZE,
    RUN,
    SIGNAL,
    START,
    STOP,
)

FRAMES = 150
NUMBERS = [0, 1, 2, 9, 64, 255, 65535, 65536, 65537, 262144, 2**31 - 1, 2**31, 2**32 - 1]
WORDS = [b"true\0", b"@members\0", b"@environ\0", b"\xff\0", b"\0", b"/\0", b"no end", b""]  # run as they are


def frames(draw: random.Random) -> list[tuple[int, int, bytes]]:
    """A frame, or a request with its PART, that is right more often than not: most agents take in all of them."""
    process = draw.randrange(1, 256)
    about = draw.choice([0, 0, process, process]) * 4
    part = (PART, process * 4, draw.choice(WORDS) or b"x")
    right: list[list[tuple[int, int, bytes]]] = [
        [part, (RUN, process * 4, b"")],
        [part, (EXEC, process * 4, bytes(5))],
        [part, (EXEC, process * 4, b"\1\0\1\0\1")],
        [(DATA, about, draw.randbytes(draw.randrange(1, 2000)))],
        [(CREDIT, about + draw.randrange(1, 3), bytes(4))],
        [(SIGNAL, about, draw.randbytes(4) + struct.pack(">IB", draw.choice([0, 17, 18, 28]), draw.randrange(2)))],
        [(RESIZE, about, draw.randbytes(4))],
        [(STOP, 0, draw.randbytes(4))],
        [(CONTINUE, 0, draw.randbytes(4))],
        [(ACK, 0, bytes(8))],
    ]
    rare: list[list[tuple[int, int, bytes]]] = [
        [(START, 0, bytes(4))],
        [(EOF, about, b"")],
        [(CLOSED, about + draw.randrange(1, 3), b"")],
        [(CREDIT, about + draw.randrange(1, 3), struct.pack(">I", draw.choice(NUMBERS)))],
        [(SIGNAL, about, bytes(4) + struct.pack(">IB", draw.choice([9, 15, 64, 65]), draw.randrange(3)))],
        [(PART, process * 4, draw.randbytes(draw.randrange(1, 3000)))],
        [(draw.randrange(256), about, b"")],
        [(DATA, draw.choice(NUMBERS), b"x")],
        [(RESIZE, about, draw.randbytes(draw.randrange(20)))],
        [(ACK, 0, draw.randbytes(8))],
        [(BYE, 0, b"")],
    ]
    return draw.choice(right if draw.random() < 0.97 else rare)


def encoded(type_: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">IBI", len(payload), type_, stream & 0xFFFFFFFF) + payload


def agent(node: MakeNode, started: bool = True) -> Node:
    one = node("sh", "-c", "while echo output; do sleep 0.01; done", patience=0)
    one.settings["runtime"] = "false"  # nothing of what is made up here is executed
    one.begin()
    return one.start() if started else one


def send(one: Node, data: bytes) -> None:
    """Send all of it, unless the agent has had enough; what it says is read, but not looked at."""
    connection = one.login.connection
    assert connection
    connection.setblocking(False)
    while data:
        try:
            data = data[connection.send(data) :]
        except BlockingIOError:
            pass
        except OSError:
            return
        try:
            while connection.recv(1 << 16):
                pass
        except OSError:
            pass


def ends(one: Node) -> None:
    """The agent ends, with its container, and no sanitizer has complained."""
    one.login.cut()
    assert one.is_gone()
    assert not one.complaints(), one.complaints()
    assert one.first.wait(20) in (-signal.SIGKILL, -signal.SIGTERM, 0, -64, -signal.SIGPIPE)


@pytest.mark.parametrize("seed", range(24))
def test_frames_in_any_order(node: MakeNode, seed: int) -> None:
    draw = random.Random(seed)
    one = agent(node, started=seed % 4 > 0)
    for _ in range(FRAMES // 10):
        send(one, b"".join(encoded(*each) for _ in range(10) for each in frames(draw)))
    ends(one)


@pytest.mark.parametrize("seed", range(8))
def test_bytes_that_are_changed(node: MakeNode, seed: int) -> None:
    draw = random.Random(1000 + seed)
    one = agent(node)
    data = bytearray(b"".join(encoded(*each) for _ in range(40) for each in frames(draw)))
    for _ in range(6):
        data[draw.randrange(len(data) // 2, len(data))] = draw.randrange(256)
    send(one, bytes(data))
    ends(one)


@pytest.mark.parametrize(
    "wrong",
    [
        (0, 0, b""),
        (READY, 0, b""),
        (255, 0, b""),
        (START, 4, bytes(4)),
        (START, 0, bytes(3)),
        (PART, 0, b"x"),
        (PART, 4, b""),
        (EXEC, 4, bytes(5)),  # without a PART
        (RUN, 0, b""),
        (DATA, 0, b""),
        (DATA, 1, b"x"),
        (DATA, 3, b"x"),
        (DATA, 256 * 4, b"x"),
        (DATA, 2**32 - 4, b"x"),
        (CREDIT, 0, bytes(4)),
        (CREDIT, 3, bytes(4)),
        (CREDIT, 1, bytes(5)),
        (CLOSED, 0, b""),
        (SIGNAL, 0, bytes(8)),
        (SIGNAL, 0, bytes(7) + b"\x41\0"),
        (SIGNAL, 0, bytes(8) + b"\2"),
        (SIGNAL, 256 * 4, bytes(9)),
        (STOP, 4, bytes(4)),
        (ACK, 0, bytes(7)),
        (ACK, 0, b"\xff" * 8),
        (ACK, 4, bytes(8)),
        (BYE, 0, b""),  # before DONE
    ],
    ids=str,
)
def test_what_the_page_does_not_allow_ends_it(node: MakeNode, wrong: tuple[int, int, bytes]) -> None:
    one = agent(node)
    send(one, encoded(*wrong))
    assert one.is_gone()  # of itself
    ends(one)


@pytest.mark.parametrize("length", [65537, 2**31, 2**32 - 1])
def test_no_length_is_believed(node: MakeNode, length: int) -> None:
    one = agent(node)
    send(one, struct.pack(">IBI", length, DATA, 0) + os.urandom(100000))
    ends(one)


def test_bytes_instead_of_a_handshake(node: MakeNode) -> None:
    draw = random.Random(5)
    for size in (0, 1, 63, 64, 65, 5000):
        one = node("true")
        one.run_hook()
        connection, _ = one.login.listener.accept()
        with connection:
            try:
                connection.sendall(draw.randbytes(size))
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the node has had enough before
            assert one.hook
            assert one.hook.wait(20) == 1
        assert not one.complaints()
