"""Listen for the job's nodes, and know them from strangers.

A node connects to the host of its srun (SLURM_SRUN_COMM_HOST). Anybody can connect to that port, and anybody could own
the port after us, so both ends prove that they know a token, which the node gets through srun (reach.sh)::

    this host               the node
    NONCE                                                        at once
                            NAME ITS-NONCE PROOF-OF-THE-NODE
    OUR-PROOF                                                    then a stream, from here or from there

A :func:`proof` is a digest of the token and both nonces. The token itself isn't sent, and a proof is of no use for
another connection. srun tells as well which nodes have connected (``reached``), and which streams count.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import socket
import threading
import time

from scrun.listening import listen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_PATIENCE = 10.0  # seconds
_MOST_STRANGERS = 128  # connections without proof at a time, beside two of each node
_REST = 0.1  # seconds
_LONGEST = 512  # bytes of a node's line
# A link that is cut is noticed after 45 s in which the node's kernel has answered nothing, even while nothing is sent.
_OTHERS = 256  # descriptors
_KEEP_ALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 6}


class _Stranger:
    """A connection that has not yet proved that it knows the token."""

    def __init__(self, connection: socket.socket, address: str, patience: float) -> None:
        self.connection, self.address = connection, address
        self.nonce = os.urandom(16).hex()
        self.until = time.monotonic() + patience
        self.said = b""


class Arrivals:
    """A listener that keeps the connections of the nodes, by their names.

    ``visits`` counts connections; each node makes two, because the first only tries.

    Args:
        ports: the first and the last port to listen on; (0, 0) for any.
        patience: seconds that a connection has for its proof.
        nodes: how many nodes may come at once.

    Raises:
        OSError: no port is free.
    """

    def __init__(self, ports: tuple[int, int] = (0, 0), patience: float = _PATIENCE, nodes: int = 0) -> None:
        self._patience, self._most = patience, _MOST_STRANGERS + 2 * nodes
        _allow_descriptors(self._most + nodes)
        self.token = os.urandom(16).hex()
        self.visits = 0
        self._connections: dict[str, socket.socket] = {}
        self._strangers: dict[int, _Stranger] = {}  # by descriptor, the oldest first
        self._changed = threading.Condition()
        self._listener = socket.socket(fileno=listen(ports))
        self._listener.setblocking(False)
        self._end = os.eventfd(0)
        self._poll = select.poll()
        self._poll.register(self._listener, select.POLLIN)
        self._poll.register(self._end, select.POLLIN)
        self._threads: list[threading.Thread] = []
        self._start(self._receive)

    @property
    def port(self) -> int:
        """The number of the port."""
        return int(self._listener.getsockname()[1])

    def wait_for(self, nodes: Collection[str]) -> bool:
        """Wait until all these nodes are connected; False after 10 seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: set(nodes) <= self._connections.keys(), _PATIENCE)

    def of(self, node: str) -> socket.socket:
        """The connection of a node that has come; :meth:`close` closes it."""
        return self._connections[node]

    def close(self) -> None:
        """Close all connections; unsent bytes are lost."""
        os.eventfd_write(self._end, 1)
        for one in list(self._connections.values()):
            try:
                one.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for this connection
            except OSError:
                pass  # already closed
        for thread in self._threads:
            thread.join()
        for one in (self._listener, *self._connections.values()):
            one.close()
        os.close(self._end)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _receive(self) -> None:
        """Serve all connections at the same time, so that a silent one doesn't delay a node."""
        while True:
            # The oldest ends first; sending a little now and then gains no time.
            first = next(iter(self._strangers.values()), None)
            left = None if first is None else max(0, int((first.until - time.monotonic()) * 1000) + 1)
            for descriptor, _ in self._poll.poll(left):
                if descriptor == self._end:
                    for left_over in [*self._strangers.values()]:
                        self._drop(left_over)
                    return
                if descriptor == self._listener.fileno():
                    self._welcome()
                elif stranger := self._strangers.get(descriptor):
                    self._hear(stranger)
            now = time.monotonic()
            for late in [one for one in self._strangers.values() if one.until <= now]:
                self._drop(late)

    def _welcome(self) -> None:
        """Accept a connection; if there are too many, drop another."""
        if len(self._strangers) >= self._most:
            # Drop one of the host that has most, so that one host's many connections don't push out a node.
            addresses = [stranger.address for stranger in self._strangers.values()]
            busiest = max({*addresses}, key=addresses.count)
            self._drop(next(stranger for stranger in self._strangers.values() if stranger.address == busiest))
        try:
            connection, address = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                if self._strangers:
                    self._drop(next(iter(self._strangers.values())))
                else:
                    time.sleep(_REST)  # that connection stays in the listener's queue
            return  # the peer has gone
        connection.setblocking(False)
        self.visits += 1
        stranger = _Stranger(connection, str(address[0]), self._patience)
        self._strangers[connection.fileno()] = stranger
        self._poll.register(connection, select.POLLIN)
        self._tell(stranger, stranger.nonce)

    def _hear(self, stranger: _Stranger) -> None:
        """Read from a connection, and check its proof."""
        try:
            data = stranger.connection.recv(_LONGEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        stranger.said += data
        if data and b"\n" not in stranger.said and len(stranger.said) <= _LONGEST:
            return
        import hmac

        name, theirs, shown = (*stranger.said.decode("utf-8", "replace").strip().split(" "), "", "", "")[:3]
        words = (stranger.nonce, theirs, name)
        # The comparison takes constant time, so that its duration doesn't tell how many letters were right.
        knows = hmac.compare_digest(shown.encode(), proof(self.token, *words, "node").encode())
        if not knows or name in self._connections or not self._tell(stranger, proof(self.token, *words, "login")):
            self._drop(stranger)
            return
        self._forget(stranger)
        stranger.connection.setblocking(True)
        stranger.connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEP_ALIVE.items():
            stranger.connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        with self._changed:
            self._connections[name] = stranger.connection
            self._changed.notify_all()

    def _tell(self, stranger: _Stranger, line: str) -> bool:
        """Write a line, which always fits in the socket's buffer; False if the connection is broken."""
        try:
            stranger.connection.sendall(line.encode() + b"\n")
        except OSError:
            return False
        return True

    def _forget(self, stranger: _Stranger) -> None:
        self._poll.unregister(stranger.connection)
        del self._strangers[stranger.connection.fileno()]

    def _drop(self, stranger: _Stranger) -> None:
        self._forget(stranger)
        stranger.connection.close()


def _allow_descriptors(count: int) -> None:
    """Raise this process's own limit of descriptors, as far as it may, for so many beside what it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _OTHERS
    if wanted > soft:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


def proof(token: str, *words: str) -> str:
    """A digest that proves knowledge of the token.

    The token is both the first and the last word, so that nobody can extend the text of a digest that was overheard.
    """
    from scrun.digest import sha256

    return sha256(" ".join((token, *words, token)).encode()).hexdigest()
