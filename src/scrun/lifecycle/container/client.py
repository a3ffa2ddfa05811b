"""How start, kill, pause, resume and delete ask a container's anchor: over its socket.

One connection, one request, one answer, each a message. The other side is :mod:`scrun.lifecycle.anchor.server`.

An answer may take as long as what was asked for: a stage_out that brings gigabytes back, a job step. That its anchor is
there still is known by a ping, which its loop answers at once whatever else is under way.

In the plain forms of start, kill and delete it is scrun-front that asks (:mod:`scrun.front`). Where the answer is not
the usual one, or doesn't come, the connection is gone on with here.
"""

from __future__ import annotations

import _socket
import sys

from scrun import front
from scrun.errors import AnchorSilent, ScrunError
from scrun.lifecycle.container import messages
from scrun.lifecycle.container.directory import SOCKET
from scrun.lifecycle.process import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.messages import Answer, FromCaller

PATIENCE = 5.0  # seconds without an answer until the anchor is pinged
SILENCE = 10.0  # seconds that it has to answer that
_LONG = 8 if sys.maxsize > 1 << 32 else 4  # bytes of a long, of which a struct timeval has two


def ask(
    container: Container,
    request: FromCaller,
    *,
    patience: float = PATIENCE,
    silence: float = SILENCE,
    waits: Callable[[str], None] = lambda _what: None,
) -> Answer | None:
    """Send the anchor a request and wait for its answer; None when there is no anchor, or it went away.

    An anchor that was stopped (SIGSTOP) goes on when it is asked for something. ``waits`` is called with what
    a busy one waits for, in words for a person, when that is something else than before.

    Raises:
        ScrunError: what the anchor answered, when that is an error.
        AnchorSilent: nothing within ``patience`` seconds, and no answer to a ping within ``silence``.
    """
    said = ""
    if (descriptor := front.connection()) >= 0:
        connection: _socket.socket | None = _socket.socket(fileno=descriptor)
    elif connection := _connect(container, patience):
        wire.send(connection.fileno(), request)
    if not connection:
        return None
    try:
        reader = wire.Reader(connection.fileno())
        while True:
            try:
                answer = reader.next(messages.answer)
                break
            except BlockingIOError:
                from scrun.lifecycle.container import holders

                holders.wake(container)
                what = _ping(container, silence)
                if what not in ("", said):
                    waits(what)
                said = what
            except ValueError as error:
                why = "it answered what this scrun doesn't know: is it one of another version?"
                raise ScrunError(f"can't ask the anchor of container {container.id!r}: {why}") from error
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
        answer = wire.Reader(connection.fileno()).next(messages.answer)
    except BlockingIOError:
        raise AnchorSilent(container.id) from None
    except ValueError:  # an older scrun's answer
        return ""
    finally:
        connection.close()
    # None when it has gone, which the caller's own connection tells; an older scrun's anchor may know no ping.
    return answer["waits_for"] if answer and "waits_for" in answer else ""


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
