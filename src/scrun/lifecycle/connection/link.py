"""One agent's frames, in both directions, over one TCP connection after another.

Each side counts the bytes of the other's frames. What was sent is kept until the other side has acknowledged it, and is
sent again over the next connection; so a connection that breaks loses nothing, doubles nothing, and keeps the order.
"""

from __future__ import annotations

import _socket
import errno
import select
import sys

from scrun import wait
from scrun.lifecycle.connection import frames
from scrun.lifecycle.connection.frames import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypedDict

    from scrun.lifecycle.process.loop import Loop
    from scrun.wait import Kept

    class LinkState(TypedDict):
        """A :class:`Link` at rest: its connection, what isn't acknowledged (hex), and the positions."""

        socket: int
        out: str
        base: int
        received: int
        acknowledged: int

    Say = Callable[[str], None]

_PIECE = 131072  # bytes of one recv(2)
_DEAD_AFTER = 30  # seconds without an answer, after which the kernel gives a connection up
_PROBE_EVERY = 10  # seconds
_LINGER = (1).to_bytes(4, sys.byteorder) + bytes(4)  # struct linger of 0 seconds (socket(7))
_MOST_KEPT = 1 << 16  # bytes of ours without an acknowledgement that scrun-wait keeps
_buffer = bytearray()  # of all links: one is read at a time


class Link:
    """The frames of one agent.

    Args:
        loop: the process's loop.
        take: is called with each frame (type, stream, payload); it may raise ProtocolError.
        eased: is called when the agent has acknowledged something.
        broke: is called when a connection broke in a way that the agent may survive, with the reason.
        died: is called when there will be no other connection, with the reason; no call follows.
        kept: what :meth:`keep` has returned.
    """

    def __init__(
        self,
        loop: Loop,
        *,
        take: frames.Take,
        eased: Callable[[], None],
        broke: Say,
        died: Say,
        kept: LinkState | None = None,
    ) -> None:
        self._loop, self._take, self._eased, self._broke, self._died = loop, take, eased, broke, died
        self._socket: _socket.socket | None = None
        self._out = bytearray()  # what isn't acknowledged
        self._base = 0  # position of its first byte
        self._written = 0  # bytes of it that have gone into this connection
        self._rest = b""  # the beginning of a frame
        self._received = 0  # bytes of whole frames
        self._acknowledged = 0  # of these
        self._error: OSError | None = None  # of a write; the loop's next call ends the connection
        self._events = 0  # that the loop watches
        self.is_over = False  # died, or closed
        if kept:
            self._out += bytes.fromhex(kept["out"])
            self._base, self._written = kept["base"], len(self._out)
            self._received, self._acknowledged = kept["received"], kept["acknowledged"]
            self._socket = _socket.socket(fileno=kept["socket"])
            self._socket.setblocking(False)
            self._watch()

    def keep(self, kept: Kept) -> LinkState:
        """What it is, for scrun-wait.

        Raises:
            Busy: there is no connection, something of ours isn't sent, or a frame has come in part.
        """
        sent = self._written == len(self._out) and len(self._out) <= _MOST_KEPT
        wait.check(self._socket and not self._rest and not self._error and sent, "frames are under way")
        return {
            "socket": kept(self._socket.fileno() if self._socket else -1),
            "out": self._out.hex(),
            "base": self._base,
            "received": self._received,
            "acknowledged": self._acknowledged,
        }

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        return self._socket is not None

    @property
    def unacknowledged(self) -> int:
        """Bytes that have to be kept for the agent."""
        return len(self._out)

    def admit(self, received: int) -> int | None:
        """Prepare for a new connection of an agent that has got ``received`` bytes; the result is what was taken in.

        An older connection is reset. None: what the agent lacks isn't kept any more, or was never sent.
        """
        if self.is_over or not self._base <= received <= self._base + len(self._out):
            return None
        if self._socket:
            self._drop(abruptly=True)
            self._broke("the agent has connected anew")
        self._acknowledge(received)
        return self._received

    def resume(self, connection: _socket.socket) -> None:
        """Use this connection, whose handshake is done, from the position that was admitted on."""
        self._socket = connection
        self._written, self._rest = 0, b""
        self._error, self._events = None, 0
        self._acknowledged = self._received  # the handshake has told
        connection.setblocking(False)
        for level, option, value in (
            (_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1),
            # The kernel notices a dead link, so no timer of ours has to wake this process.
            (_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1),
            (_socket.IPPROTO_TCP, _socket.TCP_KEEPIDLE, _PROBE_EVERY),
            (_socket.IPPROTO_TCP, _socket.TCP_KEEPINTVL, _PROBE_EVERY),
            (_socket.IPPROTO_TCP, _socket.TCP_KEEPCNT, _DEAD_AFTER // _PROBE_EVERY),
            (_socket.IPPROTO_TCP, _socket.TCP_USER_TIMEOUT, _DEAD_AFTER * 1000),
        ):
            connection.setsockopt(level, option, value)
        self._watch()
        self._flush()

    def send(self, frame: bytes) -> None:
        """Send a frame now, or with the next connection."""
        if not self.is_over:
            self._out += frame
            self._flush()

    def close(self) -> None:
        """Close the connection in good order, and take no other: the agent's end."""
        self.is_over = True
        self._drop(abruptly=False)
        self._out.clear()

    # --- one connection

    def _watch(self) -> None:
        events = select.POLLIN | select.POLLOUT if self._written < len(self._out) else select.POLLIN
        if self._socket and events != self._events:
            self._events = events
            self._loop.watch(self._socket.fileno(), self._ready, events=events)

    def _ready(self) -> None:
        self._flush()
        if self._error:
            self._end(self._error)
        else:
            self._read()

    def _flush(self) -> None:
        """Write what the connection takes. An error isn't acted on here, in the midst of the caller's own work."""
        connection = self._socket
        if connection is None or self._error:
            return
        try:
            while self._written < len(self._out):
                with memoryview(self._out) as view:
                    self._written += connection.send(view[self._written : self._written + _PIECE], _socket.MSG_NOSIGNAL)
        except BlockingIOError:
            pass
        except OSError as error:
            self._error = error  # poll(2) reports it, whatever is watched
        self._watch()

    def _read(self) -> None:
        """Take in what has come, one piece of it."""
        connection = self._socket
        if connection is None:
            return
        try:
            length = self._receive(connection)
        except BlockingIOError:
            return
        except ProtocolError as error:
            self._die(f"the agent broke the protocol: {error}")
            return
        except OSError as error:
            self._end(error)
            return
        if connection is not self._socket:
            return  # a frame has ended it
        if not length:
            self._die("the agent has ended")
        elif self._received - self._acknowledged >= frames.ACK_AFTER:
            self._acknowledged = self._received
            self.send(frames.frame(frames.ACK, 0, frames.number(self._received, 8)))

    def _receive(self, connection: _socket.socket) -> int:
        """Receive once, and take the whole frames; the result is how many bytes came."""
        if not _buffer:
            _buffer.extend(bytes(_PIECE + frames.HEADER + frames.LARGEST))
        kept = len(self._rest)
        with memoryview(_buffer) as view:
            length = connection.recv_into(view[kept:], _PIECE)
            if not length:
                return 0
            view[:kept] = self._rest
            with view[: kept + length] as came:
                taken = frames.take_frames(came, self._took)
                self._rest = bytes(came[taken:])
        return length

    def _took(self, kind: int, stream: int, payload: memoryview) -> None:
        if self._socket is None:
            return  # an earlier frame has ended the link
        self._received += frames.HEADER + len(payload)
        if kind == frames.ACK:
            received = frames.value(payload, 0, 8)
            if received > self._base + self._written:
                raise ProtocolError(f"an acknowledgement of byte {received}")
            if received > self._base:  # else it was sent again, and the handshake has told more
                self._acknowledge(received)
                self._eased()
        else:
            self._take(kind, stream, payload)

    def _acknowledge(self, received: int) -> None:
        count = received - self._base
        del self._out[:count]
        self._base = received
        self._written = max(0, self._written - count)

    def _end(self, error: OSError) -> None:
        """The connection is broken, by what it was used for last; what has come before that counts."""
        connection = self._socket
        while connection is not None and connection is self._socket:
            try:
                if not self._receive(connection):
                    break
            except ProtocolError as broken:
                self._die(f"the agent broke the protocol: {broken}")
                return
            except OSError:
                break
        if connection is None or connection is not self._socket:
            return
        if error.errno == errno.EPIPE:  # the FIN came first (tcp_reset() of Linux says EPIPE then, else ECONNRESET)
            self._die("the agent has ended")
        else:
            self._drop(abruptly=True)
            self._broke(error.strerror or str(error))

    def _die(self, why: str) -> None:
        self.close()
        self._died(why)

    def _drop(self, *, abruptly: bool) -> None:
        connection, self._socket = self._socket, None
        if connection:
            self._loop.let_be(connection.fileno())
            if abruptly:
                reset(connection)
            else:
                connection.close()


def reset(connection: _socket.socket) -> None:
    """Close a connection by a reset, because an agent takes a FIN for the end of this process."""
    try:
        connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _LINGER)
    except OSError:
        pass  # the peer has gone already
    connection.close()
