"""A node's agent for the tests, which speaks the protocol by its own code, so that it checks scrun's."""

from __future__ import annotations

import hashlib
import hmac
import os
import select
import signal
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple

from scrun.lifecycle.connection.agent import Agent, Watcher
from scrun.lifecycle.connection.connection import Connection
from scrun.lifecycle.connection.processes import Failure, Follower
from scrun.lifecycle.process.loop import Loop

START, PART, EXEC, RUN, DATA, EOF, CREDIT, CLOSED, SIGNAL, RESIZE, STOP, CONTINUE, ACK, BYE = range(1, 15)
READY, STARTED, FAILED, EXIT, ANSWER, DONE, NOTE = range(32, 39)


class Frame(NamedTuple):
    kind: int
    stream: int
    payload: bytes


def pack(kind: int, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">IBI", len(payload), kind, stream) + payload


class FakeAgent:
    """One agent. ``position`` counts what it has taken in, ``kept`` is what it has sent and nobody acknowledged."""

    def __init__(self, port: int, key: bytes, *, host: str = "127.0.0.1", for_network: bool = False) -> None:
        self.port, self.key, self.host, self.for_network = port, key, host, for_network
        self.magic = b"scrun\0\1\1" if for_network else b"scrun\0\0\1"
        self.name = os.urandom(16)
        self.socket: socket.socket | None = None
        self.position = 0
        self.kept, self.base = b"", 0
        self.came = b""
        self.frames: list[Frame] = []
        self.acknowledged = 0
        self.acknowledge_after = 100_000

    def mac(self, letter: bytes, nonces: bytes, rest: bytes = b"") -> bytes:
        letter = letter.lower() if self.for_network else letter
        return hmac.new(self.key, letter + self.name + nonces + rest, hashlib.sha256).digest()

    def begin(self) -> bytes:
        """Connect and say hello; what the rest of the handshake needs."""
        self.socket = socket.create_connection((self.host, self.port))
        self.socket.settimeout(20)
        nonce = os.urandom(32)
        self.socket.sendall(self.magic + self.name + nonce)
        return nonce

    def prove(self, nonce: bytes) -> None:
        """Check login's proof, and give our own."""
        assert self.socket
        said = read_exactly(self.socket, 64)
        self.nonces = nonce + said[:32]
        assert said[32:] == self.mac(b"L", self.nonces)
        count = struct.pack(">Q", self.position)
        self.socket.sendall(count + self.mac(b"N", self.nonces, count))

    def finish(self) -> None:
        """Check login's last word, and send again what it lacks."""
        assert self.socket
        said = read_exactly(self.socket, 40)
        assert said[8:] == self.mac(b"R", self.nonces, said[:8])
        (received,) = struct.unpack(">Q", said[:8])
        assert self.base <= received <= self.base + len(self.kept)
        self.acknowledge(received)
        self.came = b""
        if self.kept:
            self.socket.sendall(self.kept)

    def acknowledge(self, received: int) -> None:
        """Keep no longer what login has; one that login sends again is old."""
        if received < self.base:
            return
        self.kept = self.kept[received - self.base :]
        self.base = received

    def send(self, kind: int, stream: int = 0, payload: bytes = b"") -> None:
        """Send a frame, and keep it for the next connection."""
        self.kept += pack(kind, stream, payload)
        if self.socket:
            self.socket.sendall(self.kept[-9 - len(payload) :])

    def take(self, data: bytes) -> None:
        """Take in what came, and acknowledge it now and then."""
        self.came += data
        while len(self.came) >= 9:
            length, kind, stream = struct.unpack(">IBI", self.came[:9])
            if len(self.came) < 9 + length:
                break
            frame = Frame(kind, stream, self.came[9 : 9 + length])
            self.came = self.came[9 + length :]
            self.position += 9 + length
            if kind == ACK:
                self.acknowledge(struct.unpack(">Q", frame.payload)[0])
            else:
                self.frames.append(frame)
        if self.position - self.acknowledged >= self.acknowledge_after:
            self.acknowledged = self.position
            self.send(ACK, 0, struct.pack(">Q", self.position))

    def hear(self) -> bool:
        """Take in what is there now; False at the end of the connection."""
        assert self.socket
        self.socket.setblocking(False)
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(20)
        self.take(data)
        return bool(data)

    def reset(self) -> None:
        """Break the connection, as a network does."""
        assert self.socket
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
        self.socket = None

    def die(self) -> None:
        """End, as a killed process does."""
        if self.socket:
            self.socket.close()
            self.socket = None

    def sent(self, kind: int, stream: int | None = None) -> list[Frame]:
        """The frames of that type that login has sent."""
        return [frame for frame in self.frames if frame.kind == kind and stream in (None, frame.stream)]


def read_exactly(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = connection.recv(length - len(data))
        if not more:
            raise ConnectionError("login has hung up")
        data += more
    return data


class SteppedLoop(Loop):
    """A loop that serves until something is so."""

    def until(self, condition: Callable[[], bool]) -> None:
        def look() -> None:
            if condition():
                self.stop()
            else:
                self.after(0.0005, look)

        self._running = True
        self.after(0, look)
        self.run()

    def close(self) -> None:
        """Give back what it holds, for a test that makes many."""
        os.close(signal.set_wakeup_fd(-1))
        os.close(self._wake)

    def settle(self) -> None:
        """Serve until nothing has come for a while."""
        self._running = True
        self.after(0.05, self.stop)
        self.run()

    def until_readable(self, connection: socket.socket) -> None:
        self.until(lambda: bool(select.select([connection], [], [], 0)[0]))


class Events(Watcher, Follower):
    """What becomes of agents and processes, in order."""

    def __init__(self) -> None:
        self.said: list[object] = []
        self.failure: Failure | None = None

    def ready(self, agent: Agent) -> None:
        self.said.append(f"ready {agent.node} {agent.task}")

    def broken(self, agent: Agent, why: str) -> None:
        self.said.append("broken")

    def resumed(self, agent: Agent) -> None:
        self.said.append("resumed")

    def done(self, agent: Agent) -> None:
        self.said.append("done")

    def lost(self, agent: Agent | None = None, why: str = "") -> None:
        self.said.append(f"lost: {why}" if agent else "process lost")

    def drained(self, agent: Agent) -> None:
        self.said.append("drained")

    def note(self, agent: Agent, text: str) -> None:
        self.said.append(f"note: {text}")

    def started(self, pid: int) -> None:
        self.said.append(f"started {pid}")

    def failed(self, failure: Failure) -> None:
        self.failure = failure
        self.said.append("failed")

    def exited(self, status: int | None) -> None:
        self.said.append(f"exited {status}")

    def delivered(self) -> None:
        self.said.append("delivered")


def values(connection: Connection) -> dict[str, str]:
    """What the bundle's file says, by name."""
    return dict(line.split(" ", 1) for line in connection.settings(7).splitlines())


def meet(loop: SteppedLoop, connection: Connection, agent: FakeAgent | None = None) -> FakeAgent:
    """An agent whose handshake is done; with ``agent`` it comes anew."""
    agent = agent or FakeAgent(connection.port, bytes.fromhex(values(connection)["key"]))
    nonce = agent.begin()
    assert agent.socket
    loop.until_readable(agent.socket)
    agent.prove(nonce)
    loop.until_readable(agent.socket)
    agent.finish()
    return agent


def ready(loop: SteppedLoop, connection: Connection, node: str = "n1", task: int = 0) -> FakeAgent:
    """An agent whose container waits for its start."""
    agent = meet(loop, connection)
    agent.send(READY, 0, struct.pack(">I", task) + node.encode())
    loop.until(lambda: any((one.node, one.task) == (node, task) for one in connection.agents))
    return agent


def hears(loop: SteppedLoop, agent: FakeAgent, kind: int, stream: int | None = None, count: int = 1) -> list[Frame]:
    """Wait until so many frames of that type have come."""

    def came() -> bool:
        agent.hear()
        return len(agent.sent(kind, stream)) >= count

    loop.until(came)
    return agent.sent(kind, stream)
