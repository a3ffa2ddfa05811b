"""An agent's frames: nothing is lost, doubled or out of order, whatever becomes of the connections that carry them."""

from __future__ import annotations

import _socket
import select
import socket
import struct
from collections.abc import Callable, Iterator

import pytest
from fake_agent import ACK, BYE, DATA, EXIT, FAILED, NOTE, READY, START, FakeAgent, Frame, SteppedLoop, pack
from hypothesis import given
from hypothesis import strategies as st

from scrun.lifecycle.connection import frames, link
from scrun.lifecycle.connection.link import Link, reset


class Pair:
    """A link, and the other end of its connections; ``agent`` keeps the other side's accounts."""

    def __init__(self, loop: SteppedLoop) -> None:
        self.loop = loop
        self.taken: list[Frame] = []
        self.said: list[str] = []
        self.link = Link(
            loop,
            take=self.take,
            eased=lambda: None,
            broke=lambda why: self.said.append(f"broken: {why}"),
            died=lambda why: self.said.append(f"died: {why}"),
        )
        self.agent = FakeAgent(0, b"")
        self.far: socket.socket | None = None
        self.fars: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))

    def take(self, kind: int, stream: int, payload: memoryview) -> None:
        self.taken.append(Frame(kind, stream, bytes(payload)))

    def connect(self) -> socket.socket:
        """A new connection, as after the handshake."""
        received = self.link.admit(self.agent.position)
        assert received is not None
        self.agent.acknowledge(received)
        self.agent.came = b""
        self.far = socket.create_connection(self.listener.getsockname())
        self.far.settimeout(20)
        self.fars.append(self.far)
        near, _ = self.listener.accept()
        self.link.resume(_socket.socket(fileno=near.detach()))
        return self.far

    def hear(self, most: int = 1 << 20) -> bool:
        """Have the agent take what has come, at most so many bytes of it; True, for conditions."""
        assert self.far
        while most and select.select([self.far], [], [], 0)[0]:
            data = self.far.recv(min(most, 65536))
            assert data
            most -= len(data)
            self.agent.take(data)
        return True

    def cut(self) -> None:
        """Break the connection."""
        assert self.far
        self.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.far.close()
        self.loop.until(lambda: not self.link.is_connected)

    def close(self) -> None:
        self.link.close()
        self.listener.close()
        for far in self.fars:
            far.close()


@pytest.fixture
def pair(stepped: SteppedLoop) -> Iterator[Pair]:
    made = Pair(stepped)
    yield made
    made.close()


def test_frames_go_both_ways_and_keep_their_bytes(pair: Pair) -> None:
    far = pair.connect()
    pair.link.send(frames.frame(frames.DATA, 4, bytes(range(256))))
    pair.hear()
    assert pair.agent.frames == [Frame(DATA, 4, bytes(range(256)))]
    whole = pack(DATA, 5, b"\0\xff\n") + pack(DATA, 6, bytes(65536))
    for piece in (whole[:3], whole[3:10], whole[10:]):
        far.sendall(piece)
        pair.loop.settle()
    assert pair.taken == [Frame(DATA, 5, b"\0\xff\n"), Frame(DATA, 6, bytes(65536))]


def test_what_the_agent_has_acknowledged_is_not_kept(pair: Pair) -> None:
    far = pair.connect()
    for _ in range(20):
        pair.link.send(frames.frame(frames.DATA, 0, bytes(65536)))
    assert pair.link.unacknowledged == 20 * 65545
    pair.loop.until(lambda: pair.hear() and len(pair.agent.frames) == 20)
    far.sendall(pair.agent.kept)
    pair.loop.until(lambda: pair.link.unacknowledged < 200000)


def test_what_follows_an_acknowledgement_is_sent(pair: Pair) -> None:
    far = pair.connect()
    pair.link.send(frames.frame(frames.DATA, 0, bytes(1000)))
    pair.hear()
    far.sendall(pack(ACK, 0, struct.pack(">Q", 1009)))
    pair.loop.until(lambda: pair.link.unacknowledged == 0)
    pair.link.send(frames.frame(frames.DATA, 0, b"more"))
    pair.loop.until(lambda: pair.hear() and len(pair.agent.frames) == 2)


def test_repeated_acknowledgement_is_no_error(pair: Pair) -> None:
    far = pair.connect()
    for _ in range(2):
        pair.link.send(frames.frame(frames.DATA, 0, bytes(1000)))
    pair.hear()
    far.sendall(pack(ACK, 0, struct.pack(">Q", 2018)) + pack(ACK, 0, struct.pack(">Q", 1009)))
    far.sendall(pack(NOTE, 0, b"still there"))
    pair.loop.until(lambda: pair.taken == [Frame(NOTE, 0, b"still there")])
    assert (pair.link.unacknowledged, pair.said) == (0, [])


def test_answer_on_a_broken_connection_keeps_the_order(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_PIECE", 2500)  # so that what has come is taken in several pieces
    far = pair.connect()
    take = pair.take

    def answer(kind: int, stream: int, payload: memoryview) -> None:
        take(kind, stream, payload)
        pair.link.send(frames.frame(frames.CREDIT, 1, bytes(4)))

    pair.link._take = answer
    sent = [Frame(DATA, 1, bytes([number]) * 1000) for number in range(40)]
    for frame in sent:
        far.sendall(pack(*frame))
    far.close()
    pair.loop.until(lambda: pair.link.is_over)
    assert pair.taken == sent


def test_what_has_come_is_acknowledged_now_and_then(pair: Pair) -> None:
    far = pair.connect()
    for _ in range(64):
        far.sendall(pack(DATA, 1, bytes(8192)))
        pair.loop.until(lambda: pair.hear())
    pair.loop.until(lambda: pair.hear() and pair.agent.base >= 64 * 8201 - 131072)
    assert pair.agent.frames == []


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from((1, 5, 3000, 65536)), max_size=4),
            st.lists(st.sampled_from((1, 5, 3000, 65536)), max_size=4),
            st.integers(0, 150_000),
            st.integers(0, 150_000),
            st.booleans(),
        ),
        max_size=6,
    )
)
def test_breaking_connections_lose_and_double_nothing(
    rounds: list[tuple[list[int], list[int], int, int, bool]],
) -> None:
    loop = SteppedLoop()
    pair = Pair(loop)
    pair.agent.acknowledge_after = 4000
    to_login: list[Frame] = []
    to_agent: list[Frame] = []
    for count, (up, down, most_up, most_down, is_replaced) in enumerate([*rounds, ([], [], 1 << 30, 1 << 30, False)]):
        for size in up:
            to_login.append(Frame(DATA, 4 * len(to_login) % 1000 + 1, bytes([count]) * size))
            pair.agent.send(*to_login[-1])
        far = pair.connect()
        for size in down:
            to_agent.append(Frame(DATA, 4 * len(to_agent) % 1000, bytes([count]) * size))
            pair.link.send(frames.frame(*to_agent[-1]))
        sending = pair.agent.kept[:most_up]
        far.setblocking(False)
        sent = 0
        while sent < len(sending):
            if select.select([], [far], [], 0)[1]:
                sent += far.send(sending[sent : sent + 65536])
            loop.until(lambda: True)
            if not pair.link.is_connected:
                break
        far.settimeout(20)
        pair.hear(most_down)
        if most_down < 1 << 30 and not is_replaced:
            pair.cut()
    loop.until(lambda: pair.hear() and (pair.taken, pair.agent.frames) == (to_login, to_agent))
    loop.until(lambda: pair.link._written == len(pair.link._out))
    pair.hear()
    assert (pair.taken, pair.agent.frames) == (to_login, to_agent)
    pair.close()
    loop.close()


def test_reset_is_waited_for_and_orderly_close_ends(pair: Pair) -> None:
    pair.connect()
    pair.cut()
    assert [said.partition(":")[0] for said in pair.said] == ["broken"]
    assert pair.link.admit(pair.agent.position) == 0
    far = pair.connect()
    far.sendall(pack(NOTE, 0, b"last words"))
    far.close()
    pair.loop.until(lambda: pair.link.is_over)
    assert pair.said[-1] == "died: the agent has ended"
    assert pair.taken == [Frame(NOTE, 0, b"last words")]
    assert pair.link.admit(pair.agent.position) is None


@pytest.mark.parametrize("ending", ["in good order", "by a reset"])
def test_end_noticed_in_writing_is_told_apart_too(pair: Pair, ending: str) -> None:
    far = pair.connect()
    far.sendall(pack(NOTE, 0, b"last words"))
    if ending == "by a reset":
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    for _ in range(4):  # the second meets the reset that answers the first
        pair.link.send(frames.frame(frames.RESIZE, 0, bytes(4)))
    pair.loop.until(lambda: bool(pair.said))
    assert pair.said[0].partition(":")[0] == ("broken" if ending == "by a reset" else "died")
    if ending != "by a reset":
        assert pair.taken == [Frame(NOTE, 0, b"last words")]


def test_new_connection_replaces_the_older(pair: Pair) -> None:
    first = pair.connect()
    pair.link.send(frames.frame(frames.RESIZE, 0, bytes(4)))
    second = pair.connect()
    pair.loop.settle()
    assert first.recv(13)
    with pytest.raises(ConnectionResetError):  # not FIN, which would tell the agent that login is dead
        first.recv(100)
    first.close()
    second.sendall(pack(NOTE, 0, b"anew"))
    pair.loop.until(lambda: len(pair.taken) == 1)
    pair.hear()
    assert len(pair.agent.frames) == 1


def test_a_position_that_is_not_kept_is_refused(pair: Pair) -> None:
    far = pair.connect()
    pair.link.send(frames.frame(frames.DATA, 0, bytes(1000)))
    pair.hear()
    far.sendall(pack(ACK, 0, struct.pack(">Q", 1009)))
    pair.loop.until(lambda: pair.link.unacknowledged == 0)
    assert pair.link.admit(1008) is None
    assert pair.link.admit(1010) is None
    assert pair.link.is_connected
    assert pair.link.admit(1009) == 17


BAD = {
    "no such type": pack(15),
    "login's type": pack(START, 0, bytes(4)),
    "a type of login's end": pack(BYE),
    "too long": struct.pack(">IBI", 65537, DATA, 1),
    "as long as can be": struct.pack(">IBI", 0xFFFFFFFF, DATA, 1),
    "empty data": pack(DATA, 1),
    "data of an input": pack(DATA, 4, b"x"),
    "data of no stream": pack(DATA, 3, b"x"),
    "no such process": pack(DATA, 1025, b"x"),
    "the last stream": pack(DATA, 0xFFFFFFFF, b"x"),
    "an end of an input": pack(6, 0),
    "an end with more": pack(6, 1, b"x"),
    "short credit": pack(7, 0, bytes(3)),
    "credit of an output": pack(7, 1, bytes(4)),
    "a start in a stream": pack(33, 1, bytes(4)),
    "READY of a process": pack(READY, 4, bytes(6)),
    "READY without a name": pack(READY, 0, bytes(4)),
    "READY with a long name": pack(READY, 0, bytes(260)),
    "a short failure": pack(FAILED, 0, b"x"),
    "a long exit": pack(EXIT, 0, bytes(5)),
    "a short answer": pack(36, 0, bytes(7)),
    "DONE with more": pack(37, 0, b"x"),
    "a long note": pack(NOTE, 0, bytes(1025)),
    "a note of a process": pack(NOTE, 4, b"x"),
    "a short acknowledgement": pack(ACK, 0, bytes(4)),
    "an acknowledgement of the unsent": pack(ACK, 0, struct.pack(">Q", 1 << 63)),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_bad_frame_ends_the_link(pair: Pair, bad: bytes) -> None:
    far = pair.connect()
    far.sendall(pack(NOTE, 0, b"good") + bad + pack(NOTE, 0, b"never heard"))
    pair.loop.until(lambda: bool(pair.said))
    assert pair.said[0].startswith("died: the agent broke the protocol: ")
    assert pair.taken == [Frame(NOTE, 0, b"good")]
    assert pair.link.is_over
    pair.link.send(frames.frame(frames.RESIZE, 0, bytes(4)))
    assert pair.link.unacknowledged == 0


def test_kernel_watches_the_connection_without_timers(pair: Pair) -> None:
    options: dict[int, int] = {}

    class Noted:
        def __init__(self, inner: _socket.socket) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> object:
            return getattr(self.inner, name)

        def setsockopt(self, level: int, option: int, value: int) -> None:
            options[option] = value
            self.inner.setsockopt(level, option, value)

    pair.connect()
    near = Noted(pair.link._socket)  # type: ignore[arg-type]
    pair.link.resume(near)  # type: ignore[arg-type]
    assert options[socket.TCP_NODELAY] == 1
    assert options[socket.SO_KEEPALIVE] == 1
    assert options[socket.TCP_USER_TIMEOUT] == 30_000
    assert not pair.loop._timers


def test_frame_may_end_the_link_amid_others(pair: Pair) -> None:
    far = pair.connect()
    take: Callable[[int, int, memoryview], None] = pair.take

    def close_then(kind: int, stream: int, payload: memoryview) -> None:
        take(kind, stream, payload)
        pair.link.close()

    pair.link._take = close_then
    far.sendall(pack(NOTE, 0, b"one") + pack(NOTE, 0, b"two"))
    pair.loop.settle()
    assert pair.taken == [Frame(NOTE, 0, b"one")]
    assert pair.said == []


def test_resetting_a_peerless_connection_is_quiet() -> None:
    here, there = socket.socketpair()
    there.close()
    reset(_socket.socket(fileno=here.detach()))
