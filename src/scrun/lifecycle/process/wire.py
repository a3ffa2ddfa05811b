"""Messages between scrun's processes: one JSON object a line, over a stream socket."""

from __future__ import annotations

import _socket  # socket itself brings enum and selectors with it: a megabyte for each anchor
import os

from scrun import errors, fastjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Message = dict[str, Any]


def pair() -> tuple[int, int]:
    """Two connected descriptors, not inherited by what is executed."""
    here, there = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    return here.detach(), there.detach()


def send(descriptor: int, message: Message) -> bool:
    """Write a message; False when nobody is there to read it any more."""
    data = fastjson.dumps(message).encode("ascii") + b"\n"
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


class Reader:
    """Cuts what arrives on a descriptor into messages."""

    LARGEST = 64 << 20  # bytes; no message of ours comes near it

    def __init__(self, descriptor: int, largest: int = 0) -> None:
        self.descriptor, self._largest = descriptor, largest or self.LARGEST
        self._begun: list[bytes] = []  # of a message; joined once, when the rest of it has come
        self._length = 0
        self._left: list[Message] = []

    def read(self) -> list[Message] | None:
        """The messages that one read(2) completed; None at the end of the stream.

        Raises:
            ValueError, RecursionError: what arrived is no JSON, or nested too deeply.
        """
        try:
            data = os.read(self.descriptor, 65536)
        except (ConnectionResetError, InterruptedError):
            data = b""
        if not data or self._length > self._largest:
            return None
        self._begun.append(data)
        if b"\n" not in data:
            self._length += len(data)
            return []
        *lines, rest = b"".join(self._begun).split(b"\n")
        self._begun, self._length = [rest], len(rest)
        return [fastjson.loads(line.decode("ascii")) for line in lines]

    def next(self) -> Message | None:
        """Wait for the next message; None at the end of the stream."""
        while not self._left:
            messages = self.read()
            if messages is None:
                return None
            self._left = messages
        return self._left.pop(0)


def failure(error: Exception) -> Message:
    """An error as a message."""
    return {"error": type(error).__name__, "message": str(error)}


def failed(message: Message) -> errors.ScrunError:
    """The error that a message carries."""
    kind = getattr(errors, message["error"], errors.ScrunError)
    error: errors.ScrunError = errors.ScrunError.__new__(kind)
    Exception.__init__(error, message["message"])
    return error


def raise_failure(message: Message) -> None:
    """Raise the error that a message carries, if it does."""
    if "error" in message:
        raise failed(message)
