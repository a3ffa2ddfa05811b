"""The port on which the nodes' agents reach the anchor.

Anybody can connect to it. A connection has 10 s in all to prove that it knows the container's key, however it spends
them, and all are served side by side, so that no stranger delays a node. Without strangers nothing wakes the process.
"""

from __future__ import annotations

import _socket
import errno
import time

from scrun import wait
from scrun.lifecycle.connection.handshake import Handshake, Refused
from scrun.lifecycle.connection.link import reset
from scrun.listening import listen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.connection.handshake import Admit, AdmitNetwork
    from scrun.lifecycle.process.loop import Loop
    from scrun.wait import Kept

PATIENCE = 10.0  # seconds that a connection has for the handshake
MOST_STRANGERS = 128  # connections without a proof at a time
_MOST_AT_ONCE = 64  # connections that are accepted before others are heard
_REST = 1.0  # seconds until it is tried again where the process has no descriptor left
_NONE_LEFT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class _Stranger:
    """A connection that hasn't proved anything."""

    def __init__(self, connection: _socket.socket, address: str, handshake: Handshake, until: float) -> None:
        self.connection, self.address, self.handshake, self.until = connection, address, handshake, until


class Listener:
    """Listens, and hands over the connections that have proved to know the key.

    Args:
        loop: the process's loop.
        key: the container's.
        admit: the :class:`Handshake`'s.
        connected: is called with an agent's name and its connection.
        ports: the first and the last port to listen on; (0, 0) for any.
        patience: seconds that a handshake may take.
        network: for connections for the container's network: the :class:`Handshake`'s ``admit_network``, and what is
            called with such a connection; None where there is none.
        kept: what :meth:`keep` has returned.

    Raises:
        OSError: no port is free.
    """

    def __init__(
        self,
        loop: Loop,
        key: bytes,
        admit: Admit,
        connected: Callable[[bytes, _socket.socket], None],
        *,
        ports: tuple[int, int] = (0, 0),
        patience: float = PATIENCE,
        network: tuple[AdmitNetwork, Callable[[_socket.socket], None]] | None = None,
        kept: int = -1,
    ) -> None:
        self._loop, self._key, self._admit, self._connected = loop, key, admit, connected
        self._network = network
        self._patience = patience
        self._listener = _socket.socket(fileno=kept if kept >= 0 else listen(ports))
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self._strangers: dict[int, _Stranger] = {}  # by descriptor, the oldest first
        self._timer = 0
        self._is_open = True
        loop.watch(self._listener.fileno(), self._accept)

    def keep(self, kept: Kept) -> int:
        """Its descriptor, for scrun-wait.

        Raises:
            Busy: somebody is to prove that he knows the key, or it is closed.
        """
        wait.check(self._is_open and not self._strangers, "somebody connects")
        return kept(self._listener.fileno())

    def close(self) -> None:
        """Listen no longer, and drop whoever hasn't proved anything."""
        if self._is_open:
            self._is_open = False
            for stranger in [*self._strangers.values()]:
                self._drop(stranger)
            self._loop.let_be(self._listener.fileno())
            self._listener.close()

    def _accept(self) -> None:
        for _ in range(_MOST_AT_ONCE):
            try:
                descriptor, address = self._listener._accept()  # type: ignore[attr-defined]  # socket.accept() uses it
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NONE_LEFT:
                    self._make_room()
                    return
                continue  # that peer has gone
            connection = _socket.socket(fileno=descriptor)
            connection.setblocking(False)
            self._welcome(connection, str(address[0]))

    def _make_room(self) -> None:
        """Drop a stranger for the descriptor it has; where there is none, look again in a while."""
        if self._strangers:
            self._drop(next(iter(self._strangers.values())))
            return
        self._loop.let_be(self._listener.fileno())
        self._loop.after(_REST, self._accept_again)

    def _accept_again(self) -> None:
        if self._is_open:
            self._loop.watch(self._listener.fileno(), self._accept)

    def _welcome(self, connection: _socket.socket, address: str) -> None:
        if len(self._strangers) >= MOST_STRANGERS:
            # One of the host that has most, so that one host's many connections don't push out a node.
            addresses = [stranger.address for stranger in self._strangers.values()]
            busiest = max({*addresses}, key=addresses.count)
            self._drop(next(stranger for stranger in self._strangers.values() if stranger.address == busiest))
        until = time.monotonic() + self._patience
        stranger = _Stranger(
            connection, address, Handshake(self._key, self._admit, self._network and self._network[0]), until
        )
        self._strangers[connection.fileno()] = stranger
        self._loop.watch(connection.fileno(), lambda: self._hear(stranger))
        if not self._timer:
            self._timer = self._loop.after(self._patience, self._drop_late)

    def _hear(self, stranger: _Stranger) -> None:
        handshake, connection = stranger.handshake, stranger.connection
        try:
            data = connection.recv(handshake.wanted)
            answer = handshake.take(data) if data else b""
            # What isn't more than this always fits in a new socket's buffer.
            if not data or (answer and connection.send(answer, _socket.MSG_NOSIGNAL) != len(answer)):
                self._drop(stranger)
                return
        except BlockingIOError:
            return
        except (OSError, Refused):
            self._drop(stranger)
            return
        if not handshake.wanted:
            self._forget(stranger)
            if handshake.is_for_network and self._network:
                self._network[1](connection)
            else:
                self._connected(handshake.name, connection)

    def _drop_late(self) -> None:
        now = time.monotonic()
        for late in [one for one in self._strangers.values() if one.until <= now]:
            self._drop(late)
        first = next(iter(self._strangers.values()), None)
        self._timer = self._loop.after(max(0.0, first.until - now), self._drop_late) if first else 0

    def _forget(self, stranger: _Stranger) -> None:
        descriptor = stranger.connection.fileno()
        self._loop.let_be(descriptor)
        del self._strangers[descriptor]
        if not self._strangers:
            self._loop.forget(self._timer)
            self._timer = 0

    def _drop(self, stranger: _Stranger) -> None:
        """Reset the connection: a FIN would tell an agent that this process has ended."""
        self._forget(stranger)
        reset(stranger.connection)
