"""Messages between scrun's processes: one JSON object a line, over a stream socket."""

from __future__ import annotations

import _socket  # socket itself brings enum and selectors with it: a megabyte for each anchor
import os

from scrun import errors, fastjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypedDict, TypeVar, final

    M = TypeVar("M")
    # What a message must have, so that it is one of a kind: of each member a type that the value has, several of which
    # it has one, or the value itself.
    Form = Mapping[str, Any]

    @final
    class Failure(TypedDict):
        """An error, as any process may send it in the place of what was asked for."""

        error: str  # name of a class in scrun.errors
        message: str


FAILURE: Form = {"error": str, "message": str}


class Check:
    """The one entry of messages that were read: returns one that has any of the forms, as it is.

    Its declared type says which messages a reader may get: ``check: Callable[[object], ToStandin] = Check(…)``.
    """

    __slots__ = ("forms",)

    def __init__(self, *forms: Form) -> None:
        self.forms = forms

    def __call__(self, message: object) -> Any:
        """Return the message.

        Raises:
            ValueError: it has none of the forms.
        """
        if isinstance(message, dict):
            for form in self.forms:
                if all(name in message and _is(message[name], wanted) for name, wanted in form.items()):
                    return message
        members = ", ".join(message) if isinstance(message, dict) else type(message).__name__
        raise ValueError(f"no message of this connection: {members[:200]}")


def _is(value: object, wanted: Any) -> bool:
    """JSON's true is no number here."""
    if isinstance(wanted, type):
        return type(value) is wanted
    return type(value) in wanted if isinstance(wanted, tuple) else value == wanted


def pair() -> tuple[int, int]:
    """Two connected descriptors, not inherited by what is executed."""
    here, there = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    return here.detach(), there.detach()


def send(descriptor: int, message: Mapping[str, object]) -> bool:
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
        self._left: list[Any] = []

    @property
    def is_at_rest(self) -> bool:
        """Whether all that was read was whole messages, and each of them was returned."""
        return not self._left and not any(self._begun)

    def read(self, check: Callable[[object], M]) -> list[M] | None:
        """The messages that one read(2) completed, each as ``check`` returns it; None at the end of the stream.

        Raises:
            ValueError, RecursionError: what arrived is no JSON, nested too deeply, or no message that may come here.
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
        return [check(fastjson.loads(line.decode("ascii"))) for line in lines]

    def next(self, check: Callable[[object], M]) -> M | None:
        """Wait for the next message, as ``check`` returns it; None at the end of the stream.

        Raises:
            ValueError, RecursionError: as of :meth:`read`.
        """
        while not self._left:
            messages = self.read(_unchecked)
            if messages is None:
                return None
            self._left = messages
        return check(self._left.pop(0))


def _unchecked(message: object) -> object:
    return message


def failure(error: Exception) -> Failure:
    """An error as a message."""
    return {"error": type(error).__name__, "message": str(error)}


def failed(message: Failure) -> errors.ScrunError:
    """The error that a message carries."""
    kind = getattr(errors, message["error"], errors.ScrunError)
    error: errors.ScrunError = errors.ScrunError.__new__(kind)
    Exception.__init__(error, message["message"])
    return error


def raise_failure(message: Mapping[str, object]) -> None:
    """Raise the error that a message carries, if it is a :class:`Failure`."""
    if "error" in message:
        raise failed({"error": str(message["error"]), "message": str(message["message"])})
