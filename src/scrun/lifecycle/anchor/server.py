"""The anchor's socket, by which start, kill, pause, resume and delete reach it.

One connection, one request, one answer, each a message. Only the container's own user gets one (SO_PEERCRED). The
other side is :mod:`scrun.lifecycle.container.client`.
"""

from __future__ import annotations

import _socket
import os
import sys

from scrun import wait
from scrun.errors import ScrunError, UsageError, WrongStatus
from scrun.lifecycle.container import messages
from scrun.lifecycle.container.directory import SOCKET
from scrun.lifecycle.process import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.anchor.view import Requested
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.messages import Answer, FromCaller
    from scrun.lifecycle.process.loop import Loop
    from scrun.wait import Kept

_PID_UID_GID = 12  # bytes of a struct ucred (unix(7)), three int
_LARGEST = 1 << 16  # bytes of a request; one has some twenty
_MOST = 128  # connections; the descriptors of a process are counted


class Server:
    """The anchor's side."""

    def __init__(self, loop: Loop, anchor: Requested, listening: _socket.socket) -> None:
        self._loop, self._anchor, self._listening = loop, anchor, listening
        self._connections: dict[_Connection, None] = {}  # the oldest first
        loop.watch(self._listening.fileno(), self._connected)

    def _connected(self) -> None:
        if len(self._connections) >= _MOST:
            next((one for one in self._connections if one.is_idle), next(iter(self._connections))).close()
        try:
            descriptor, _address = self._listening._accept()  # type: ignore[attr-defined]  # as socket.accept calls it
        except OSError:
            return  # the caller has gone already, or this process has no descriptor left: then it waits for one
        connection = _socket.socket(fileno=descriptor)
        credentials = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _PID_UID_GID)
        connection.detach()
        if int.from_bytes(credentials[4:8], sys.byteorder) not in (0, os.getuid()):
            os.close(descriptor)
            return
        self._connections[_Connection(self._loop, self._anchor, descriptor, self._closed)] = None

    def keep(self, kept: Kept) -> int:
        """The socket's descriptor, for scrun-wait.

        Raises:
            Busy: somebody is connected.
        """
        wait.check(not self._connections, "somebody asks for something")
        return kept(self._listening.fileno())

    def _closed(self, connection: _Connection) -> None:
        self._connections.pop(connection, None)

    def answer_rest(self) -> None:
        """Answer everybody who still waits: the container's end came before the end of what they asked for."""
        for connection in [*self._connections]:
            connection.answer_rest()


def serve(loop: Loop, container: Container, anchor: Requested, creator: int, kept: int = -1) -> Server:
    """The anchor's server; whoever creates the container is told why there can't be one.

    With ``kept``, what :meth:`Server.keep` has returned, the socket is there already.

    Raises:
        OSError: there can't.
    """
    if kept >= 0:
        return Server(loop, anchor, _socket.socket(fileno=kept))
    try:
        listening = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        listening.bind(container.child(SOCKET))
        listening.listen(64)
        return Server(loop, anchor, listening)
    except OSError as error:
        wire.send(creator, wire.failure(ScrunError(f"can't write {container.path}: {error.strerror}")))
        container.remove()
        raise


class _Connection:
    """One caller, until it has its answer or goes away."""

    def __init__(self, loop: Loop, anchor: Requested, descriptor: int, closed: Callable[[_Connection], None]) -> None:
        self._loop, self._anchor, self._closed = loop, anchor, closed
        self._reader = wire.Reader(descriptor, _LARGEST)
        self._open = True
        self._asked = ""
        loop.watch(descriptor, self._readable)

    @property
    def is_idle(self) -> bool:
        """Whether nothing was asked yet."""
        return not self._asked

    def answer(self, message: Answer) -> None:
        """Answer, and hang up; a caller who has gone already is no error."""
        if self._open:
            wire.send(self._reader.descriptor, message)
            self.close()

    def answer_rest(self) -> None:
        """The container has ended. Whoever sent it a signal, or let it go on, has what he wanted; nothing is paused."""
        if self._asked == "pause":
            self.answer(wire.failure(WrongStatus("container not running: it has ended meanwhile")))
        elif self._asked:
            self.answer({"ended": True})

    def close(self) -> None:
        """Hang up, if that isn't done yet."""
        if self._open:
            self._open = False
            self._closed(self)
            self._loop.unwatch(self._reader.descriptor)

    def _readable(self) -> None:
        requests: list[object] | None
        try:
            requests = self._reader.read(lambda message: message)
        except (ValueError, RecursionError):
            requests = [None]
        if requests is None:
            self.close()
        elif requests and (self._asked or len(requests) > 1):
            self._refuse("one connection is for one request")
        elif requests:
            self._serve(requests[0])

    def _refuse(self, why: str) -> None:
        self.answer(wire.failure(UsageError(f"the anchor can't read that request: {why}")))

    def _serve(self, message: object) -> None:
        """Do what a request says, which has come from outside: everything in it is looked at first."""
        try:
            request = messages.request(message)
        except ValueError as error:
            self._refuse(str(error))
            return
        self._asked = request["do"]
        try:
            self._perform(request)
        except (AttributeError, KeyError, TypeError, ValueError):  # of a container whose record isn't made yet
            self._refuse("it comes too early")

    def _perform(self, request: FromCaller) -> None:
        if request["do"] == "kill":
            self._anchor.kill(request["signal"], self.answer)
        elif request["do"] == "start":
            self._anchor.start(self.answer)
        elif request["do"] == "ping":
            self.answer({"waits_for": self._anchor.waits_for()})
        elif request["do"] == "pause":
            self._anchor.pause(self.answer)
        elif request["do"] == "resume":
            self._anchor.resume(self.answer)
        else:
            self._anchor.delete(self.answer)
