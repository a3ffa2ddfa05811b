"""The port for the nodes' agents: who is let in, and that no stranger delays or pushes out a node."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator

import pytest
from fake_agent import FakeAgent, SteppedLoop, pack, read_exactly

from scrun.lifecycle.connection import digest, listener
from scrun.lifecycle.connection.listener import Listener
from scrun.lifecycle.process.loop import Loop

KEY = bytes(range(32))


class Door:
    """A listener, and whom it has let in."""

    def __init__(self, loop: Loop, *, patience: float = 20.0) -> None:
        self.inside: dict[bytes, socket.socket] = {}
        self.taken: dict[bytes, int] = {}  # what is known of agents: how much of theirs was taken in
        self.wanted = True

        def admit(name: bytes, received: int) -> int | None:
            return self.taken.get(name, 0) if self.wanted and received == self.sent else None

        def connected(name: bytes, connection: object) -> None:
            self.inside[name] = socket.socket(fileno=connection.detach())  # type: ignore[attr-defined]

        self.sent = 0
        self.networks: list[socket.socket] = []

        def network_connected(connection: object) -> None:
            self.networks.append(socket.socket(fileno=connection.detach()))  # type: ignore[attr-defined]

        network = (self.inside.__contains__, network_connected)
        self.listener = Listener(loop, KEY, admit, connected, patience=patience, network=network)

    def close(self) -> None:
        self.listener.close()
        for connection in [*self.inside.values(), *self.networks]:
            connection.close()


@pytest.fixture
def door(stepped: SteppedLoop) -> Iterator[Door]:
    made = Door(stepped)
    yield made
    made.close()


def enter(loop: SteppedLoop, agent: FakeAgent) -> None:
    nonce = agent.begin()
    assert agent.socket
    loop.until_readable(agent.socket)
    agent.prove(nonce)
    loop.until_readable(agent.socket)
    agent.finish()


def is_reset(loop: SteppedLoop, connection: socket.socket) -> bool:
    """Whether login closes the connection, and not in good order, which would tell an agent that login is dead."""
    loop.until_readable(connection)
    try:
        connection.recv(100)
    except ConnectionResetError:
        return True
    return False


def test_the_digest_is_rfc_4231s() -> None:
    assert digest.hmac_sha256(b"\x0b" * 20, b"Hi There").hex() == (
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    )
    assert digest.hmac_sha256(b"\xaa" * 131, b"Test Using Larger Than Block-Size Key - Hash Key First").hex() == (
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_agent_with_the_key_is_let_in(stepped: SteppedLoop, door: Door, host: str) -> None:
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    agent = FakeAgent(door.listener.port, KEY, host=host)
    enter(stepped, agent)
    assert [*door.inside] == [agent.name]
    agent.die()


def test_an_agents_network_connection_is_handed_over(stepped: SteppedLoop, door: Door) -> None:
    agent = FakeAgent(door.listener.port, KEY)
    enter(stepped, agent)
    second = FakeAgent(door.listener.port, KEY, for_network=True)
    second.name = agent.name
    enter(stepped, second)
    assert (len(door.inside), len(door.networks)) == (1, 1)
    agent.die()
    second.die()


@pytest.mark.parametrize("is_known", [True, False])
def test_a_strangers_connection_for_the_network_is_refused(stepped: SteppedLoop, door: Door, is_known: bool) -> None:
    """One that no agent belongs to, and one whose proof is that of an agent's other connection."""
    agent = FakeAgent(door.listener.port, KEY)
    enter(stepped, agent)
    second = FakeAgent(door.listener.port, KEY, for_network=not is_known)
    if is_known:
        second.name = agent.name
    second.magic = b"scrun\0\1\1"
    nonce = second.begin()
    assert second.socket
    stepped.until_readable(second.socket)
    said = read_exactly(second.socket, 64)
    proof = second.mac(b"N", nonce + said[:32], bytes(8))
    second.socket.sendall(bytes(8) + proof)
    assert is_reset(stepped, second.socket)
    assert not door.networks
    agent.die()
    second.die()


def test_frames_behind_the_handshake_go_to_the_link(stepped: SteppedLoop, door: Door) -> None:
    agent = FakeAgent(door.listener.port, KEY)
    nonce = agent.begin()
    assert agent.socket
    stepped.until_readable(agent.socket)
    agent.prove(nonce)
    agent.socket.sendall(pack(38, 0, b"hello"))
    stepped.until(lambda: bool(door.inside))
    door.inside[agent.name].setblocking(True)
    assert read_exactly(door.inside[agent.name], 14) == pack(38, 0, b"hello")
    agent.die()


def test_both_sides_say_how_far_they_have_got(stepped: SteppedLoop, door: Door) -> None:
    agent = FakeAgent(door.listener.port, KEY)
    agent.position, door.sent = 1 << 40, 1 << 40
    agent.kept = bytes(100)
    door.taken[agent.name] = 77
    enter(stepped, agent)
    assert (agent.base, len(agent.kept)) == (77, 23)
    agent.die()


def test_a_wrong_key_is_refused(stepped: SteppedLoop, door: Door) -> None:
    agent = FakeAgent(door.listener.port, KEY)
    nonce = agent.begin()
    assert agent.socket
    stepped.until_readable(agent.socket)
    said = read_exactly(agent.socket, 64)
    assert said[32:] == agent.mac(b"L", nonce + said[:32])
    agent.key = os.urandom(32)
    agent.socket.sendall(bytes(8) + agent.mac(b"N", nonce + said[:32], bytes(8)))
    assert is_reset(stepped, agent.socket)
    assert not door.inside
    agent.die()


@pytest.mark.parametrize("what", ["magic", "login's own proof", "another connection's proof", "another count"])
def test_what_is_no_proof_is_refused(stepped: SteppedLoop, door: Door, what: str) -> None:
    agent = FakeAgent(door.listener.port, KEY)
    overheard = FakeAgent(door.listener.port, KEY)
    overheard.name = agent.name
    enter(stepped, overheard)
    nonces, proof = overheard.nonces, bytes(8) + overheard.mac(b"N", overheard.nonces, bytes(8))
    overheard.die()
    door.inside.popitem()[1].close()
    agent.socket = socket.create_connection(("127.0.0.1", door.listener.port))
    magic = b"scrun\0\0\x02" if what == "magic" else b"scrun\0\0\x01"
    agent.socket.sendall(magic + agent.name + nonces[:32])
    if what != "magic":
        stepped.until_readable(agent.socket)
        said = read_exactly(agent.socket, 64)
        if what == "login's own proof":
            proof = bytes(8) + said[32:]
        elif what == "another count":
            proof = b"\0" * 7 + b"\1" + agent.mac(b"N", nonces[:32] + said[:32], bytes(8))
        agent.socket.sendall(proof)
    assert is_reset(stepped, agent.socket)
    assert not door.inside
    agent.die()


def test_an_agent_that_is_not_wanted_is_reset(stepped: SteppedLoop, door: Door) -> None:
    door.wanted = False
    agent = FakeAgent(door.listener.port, KEY)
    nonce = agent.begin()
    assert agent.socket
    stepped.until_readable(agent.socket)
    agent.prove(nonce)
    assert is_reset(stepped, agent.socket)
    agent.die()


def test_silent_and_dripping_strangers_delay_nobody(stepped: SteppedLoop) -> None:
    door = Door(stepped, patience=0.5)
    silent = socket.create_connection(("127.0.0.1", door.listener.port))
    dripping = socket.create_connection(("127.0.0.1", door.listener.port))
    hello = iter(b"scrun\0\0\x01" + bytes(48))
    ended = False

    def drip() -> None:
        nonlocal ended
        try:
            dripping.send(bytes([next(hello)]))
            dripping.setblocking(False)
            dripping.recv(1)
        except BlockingIOError:
            stepped.after(0.02, drip)
        except OSError:
            ended = True

    drip()
    agent = FakeAgent(door.listener.port, KEY)
    enter(stepped, agent)
    assert agent.name in door.inside
    assert not ended
    assert is_reset(stepped, silent)
    stepped.until(lambda: ended)
    assert next(hello, None) is not None  # it had not said all
    for one in (silent, dripping):
        one.close()
    agent.die()
    door.close()
    assert not stepped._timers


def test_two_hundred_strangers_leave_room_for_a_node(stepped: SteppedLoop, door: Door) -> None:
    early = FakeAgent(door.listener.port, KEY)
    nonce = early.begin()
    assert early.socket
    stepped.until_readable(early.socket)
    strangers = []
    for host in ("127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3"):
        for _ in range(50):
            strangers.append(socket.create_connection(("127.0.0.1", door.listener.port), source_address=(host, 0)))
        stepped.settle()
    assert len(door.listener._strangers) == listener.MOST_STRANGERS
    early.prove(nonce)
    stepped.until_readable(early.socket)
    early.finish()
    late = FakeAgent(door.listener.port, KEY)
    enter(stepped, late)
    assert {*door.inside} == {early.name, late.name}
    for agent in (early, late):
        agent.die()
    for stranger in strangers:
        stranger.close()


def test_no_descriptor_left_is_survived(stepped: SteppedLoop, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_REST", 3600.0)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    agent = FakeAgent(door.listener.port, KEY)
    nonce = agent.begin()
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    held = [os.dup(0) for _ in range(highest)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(held) + 1, before[1]))
    try:
        stepped.settle()
        assert not door.listener._strangers  # it could not be accepted,
        assert door.listener._listener.fileno() not in stepped._ready  # and that is not tried without a pause
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in held:
            os.close(descriptor)
    [again] = [due for _time, due in stepped._timers.values()]
    again()
    assert agent.socket
    stepped.until_readable(agent.socket)
    agent.prove(nonce)
    stepped.until_readable(agent.socket)
    agent.finish()
    agent.die()


def test_a_port_of_the_sites_range_is_taken(stepped: SteppedLoop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        made = Listener(stepped, KEY, lambda _name, _received: 0, lambda _name, _c: None, ports=(port, port + 20))
        assert port < made.port <= port + 20
        made.close()
    with pytest.raises(OSError, match="no port"):
        Listener(stepped, KEY, lambda _name, _received: 0, lambda _name, _c: None, ports=(5, 4))
