"""The control socket: how start, kill, pause, resume and delete reach the anchor.

One connection, one request, one answer, each a message. Only the container's own user gets one (SO_PEERCRED).

An answer may take as long as what was asked for: a stage_out that brings gigabytes back, a job step. That its anchor is
there still is known by a ping, which its loop answers at once whatever else is under way.
"""

from __future__ import annotations

import _socket
import os
import sys

from scrun.errors import AnchorSilent, ScrunError, UsageError, WrongStatus
from scrun.lifecycle import status, wire
from scrun.lifecycle.container import SOCKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.anchor import Anchor
    from scrun.lifecycle.container import Container
    from scrun.lifecycle.loop import Loop
    from scrun.lifecycle.wire import Message

PATIENCE = 5.0  # seconds without an answer until the anchor is pinged
SILENCE = 10.0  # seconds that it has to answer that
_PID_UID_GID = 12  # bytes of a struct ucred (unix(7)), three int
_LONG = 8 if sys.maxsize > 1 << 32 else 4  # bytes of a long, of which a struct timeval has two
_LARGEST = 1 << 16  # bytes of a request; one has some twenty
_MOST = 128  # connections; the descriptors of a process are counted


class Server:
    """The anchor's side."""

    def __init__(self, loop: Loop, container: Container, anchor: Anchor) -> None:
        self._loop, self._anchor = loop, anchor
        self._connections: dict[_Connection, None] = {}  # the oldest first
        self._listening = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        self._listening.bind(container.child(SOCKET))
        self._listening.listen(64)
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

    def _closed(self, connection: _Connection) -> None:
        self._connections.pop(connection, None)

    def answer_rest(self) -> None:
        """Answer everybody who still waits: the container's end came before the end of what they asked for."""
        for connection in [*self._connections]:
            connection.answer_rest()


def serve(loop: Loop, container: Container, anchor: Anchor, creator: int) -> Server:
    """The anchor's server; whoever creates the container is told why there can't be one.

    Raises:
        OSError: there can't.
    """
    try:
        return Server(loop, container, anchor)
    except OSError as error:
        wire.send(creator, wire.failure(ScrunError(f"can't write {container.path}: {error.strerror}")))
        container.remove()
        raise


class _Connection:
    """One caller, until it has its answer or goes away."""

    def __init__(self, loop: Loop, anchor: Anchor, descriptor: int, closed: Callable[[_Connection], None]) -> None:
        self._loop, self._anchor, self._closed = loop, anchor, closed
        self._reader = wire.Reader(descriptor, _LARGEST)
        self._open = True
        self._asked = ""
        loop.watch(descriptor, self._readable)

    @property
    def is_idle(self) -> bool:
        """Whether nothing was asked yet."""
        return not self._asked

    def answer(self, message: Message) -> None:
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
        try:
            messages = self._reader.read()
        except (ValueError, RecursionError):
            messages = [{}]
        if messages is None:
            self.close()
        elif messages and (self._asked or len(messages) > 1):
            self._refuse("one connection is for one request")
        elif messages:
            self._serve(messages[0])

    def _refuse(self, why: str) -> None:
        self.answer(wire.failure(UsageError(f"the anchor can't read that request: {why}")))

    def _serve(self, message: object) -> None:
        """Do what a request says, which has come from outside: everything in it is looked at first."""
        what = message.get("do") if isinstance(message, dict) else None
        if not isinstance(message, dict) or not isinstance(what, str):
            self._refuse("it is an object whose member do is a word")
        elif what not in _REQUESTS:
            self._refuse(f"it knows no {what[:20]!r}")
        elif what == "kill" and not _is_signal(message.get("signal")):
            self._refuse("its signal is the number of one, or 0")
        else:
            self._asked = what
            try:
                self._perform(message)
            except (AttributeError, KeyError, TypeError, ValueError):  # of a container whose record isn't made yet
                self._refuse("it comes too early")

    def _perform(self, message: Message) -> None:
        if self._asked == "start":
            self._anchor.start(self.answer)
        elif self._asked == "ping":
            self.answer({"waits for": self._anchor.waits_for()})
        elif self._asked == "kill":
            self._anchor.kill(message["signal"], self.answer)
        elif self._asked == "pause":
            from scrun.lifecycle import pause  # seldom asked for, and not kept in every anchor's memory

            pause.deliver(self._anchor, self.answer)
        elif self._asked == "resume":
            from scrun.lifecycle import resume

            resume.deliver(self._anchor, self.answer)
        else:
            self._anchor.at_end(self.answer)
            self._anchor.end(status.KILLED)


_REQUESTS = ("start", "ping", "kill", "pause", "resume", "delete")


def _is_signal(value: object) -> bool:
    """Whether it is the number of a signal, or 0; JSON's true is 1 to Python."""
    import signal  # which the anchor has, and a call of start doesn't need

    return type(value) is int and 0 <= value < signal.NSIG


def ask(
    container: Container,
    message: Message,
    *,
    patience: float = PATIENCE,
    silence: float = SILENCE,
    waits: Callable[[str], None] = lambda _what: None,
) -> Message | None:
    """Send the anchor a request and wait for its answer; None when there is no anchor, or it went away.

    An anchor that was stopped (SIGSTOP) goes on when it is asked for something. ``waits`` is called with what
    a busy one waits for, in words for a person, when that is something else than before.

    Raises:
        ScrunError: what the anchor answered, when that is an error.
        AnchorSilent: nothing within ``patience`` seconds, and no answer to a ping within ``silence``.
    """
    connection, said = _connect(container, patience), ""
    if not connection:
        return None
    try:
        wire.send(connection.fileno(), message)
        reader = wire.Reader(connection.fileno())
        while True:
            try:
                answer = reader.next()
                break
            except BlockingIOError:
                from scrun.lifecycle import holders

                holders.wake(container)
                what = _ping(container, silence)
                if what not in ("", said):
                    waits(what)
                said = what
    finally:
        connection.close()
    if answer:
        wire.raise_failure(answer)
    return answer


def _ping(container: Container, patience: float) -> str:
    """What the anchor waits for, if it is something to speak of.

    Raises:
        AnchorSilent: it doesn't answer.
    """
    if not (connection := _connect(container, patience)):
        return ""
    try:
        wire.send(connection.fileno(), {"do": "ping"})
        answer = wire.Reader(connection.fileno()).next()
    except BlockingIOError:
        raise AnchorSilent(container.id) from None
    finally:
        connection.close()
    # None when it has gone, which the caller's own connection tells; that of an older scrun knows no ping.
    return str(answer.get("waits for", "")) if answer else ""


def _connect(container: Container, patience: float) -> _socket.socket | None:
    """A connection whose calls fail with BlockingIOError after that many seconds; None when nobody listens.

    Raises:
        AnchorSilent: more wait already than the socket takes.
    """
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    seconds, rest = divmod(patience, 1)
    parts = (int(seconds), int(rest * 1e6))
    timeval = b"".join(part.to_bytes(_LONG, sys.byteorder) for part in parts)  # socket(7), SO_RCVTIMEO
    for option in (_socket.SO_RCVTIMEO, _socket.SO_SNDTIMEO):
        connection.setsockopt(_socket.SOL_SOCKET, option, timeval)
    try:
        connection.connect(container.child(SOCKET))
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except BlockingIOError:
        connection.close()
        raise AnchorSilent(container.id) from None
    except OSError as error:
        connection.close()
        raise ScrunError(f"can't reach the anchor of container {container.id!r}: {error.strerror}") from error
    return connection
