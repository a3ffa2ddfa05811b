"""What crosses the connection to a node: its frames, their limits, and every check of what a node sends.

The agent on the node is authenticated, but a broken one, or one that a container has got hold of, must do no harm
here: whatever it sends that isn't as the protocol has it raises :class:`ProtocolError`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Take = Callable[[int, int, memoryview], None]

HEADER = 9  # bytes: the payload's length (4), the type (1), the stream (4)
LARGEST = 65536  # bytes of a payload
WINDOW = 262144  # bytes of DATA that may come on a new stream before any CREDIT
BEYOND = 1 << 20  # bytes of DATA that may come beyond the credit: what is left in a pipe when its process has ended
ACK_AFTER = 65536  # bytes that are taken in without an ACK; the protocol allows twice that
MOST_PARTS = 16 << 20  # bytes of a request's PARTs
PROCESSES = 256  # process numbers, 0 among them

# From login.
START, PART, EXEC, RUN = 1, 2, 3, 4
# From both.
DATA, EOF, CREDIT, CLOSED = 5, 6, 7, 8
# From login again, but for ACK, which both send.
SIGNAL, RESIZE, STOP, CONTINUE, ACK, BYE = 9, 10, 11, 12, 13, 14
# From the node.
READY, STARTED, FAILED, EXIT, ANSWER, DONE, NOTE = 32, 33, 34, 35, 36, 37, 38

INPUT, OUTPUT, ERROR = 0, 1, 2  # a process's streams
UNKNOWN_STATUS = 0xFFFFFFFF  # EXIT of process 0, whose status the node's runtime tells

_CONTAINER, _PROCESS, _OUTPUTS = range(3)  # what a frame is about
# Of each type that a node may send: the smallest and the largest payload, and what it is about.
_FROM_NODE = {
    DATA: (1, LARGEST, _OUTPUTS),
    EOF: (0, 0, _OUTPUTS),
    CREDIT: (4, 4, _PROCESS),
    CLOSED: (0, 0, _PROCESS),
    ACK: (8, 8, _CONTAINER),
    READY: (5, 4 + 255, _CONTAINER),
    STARTED: (4, 4, _PROCESS),
    FAILED: (5, LARGEST, _PROCESS),
    EXIT: (4, 4, _PROCESS),
    ANSWER: (8, LARGEST, _PROCESS),
    DONE: (0, 0, _CONTAINER),
    NOTE: (0, 1024, _CONTAINER),
}


class ProtocolError(Exception):
    """The node's agent sent what the protocol doesn't allow; its connection is of no use any more."""


def frame(kind: int, stream: int, payload: bytes = b"") -> bytes:
    """The bytes of a frame."""
    return b"%b%c%b%b" % (number(len(payload)), kind, number(stream), payload)


def number(value: int, size: int = 4) -> bytes:
    """An unsigned number as the protocol has it."""
    return value.to_bytes(size, "big")


def size(rows: int, columns: int) -> bytes:
    """The payload of START and RESIZE, and the end of EXEC's."""
    return number(rows & 0xFFFF, 2) + number(columns & 0xFFFF, 2)


def parts(process: int, request: bytes) -> Sequence[bytes]:
    """The PARTs of a request, of at most :data:`MOST_PARTS` bytes."""
    return [frame(PART, process * 4, request[at : at + LARGEST]) for at in range(0, len(request), LARGEST)]


def take_frames(data: memoryview, take: Take) -> int:
    """Call ``take`` with type, stream and payload of each whole frame from a node; the result is their length in bytes.

    A payload is a part of ``data``, good during the call only.

    Raises:
        ProtocolError: no agent may send this; the frames before it have been taken.
    """
    at, end = 0, len(data)
    while end - at >= HEADER:
        length = int.from_bytes(data[at : at + 4], "big")
        kind, stream = data[at + 4], int.from_bytes(data[at + 5 : at + HEADER], "big")
        _check(kind, stream, length)
        behind = at + HEADER + length
        if behind > end:
            break
        take(kind, stream, data[at + HEADER : behind])
        at = behind
    return at


def _check(kind: int, stream: int, length: int) -> None:
    allowed = _FROM_NODE.get(kind)
    if allowed is None:
        raise ProtocolError(f"a frame of type {kind}")
    smallest, largest, about = allowed
    if not smallest <= length <= largest:
        raise ProtocolError(f"a frame of type {kind} with {length} bytes")
    if about == _OUTPUTS:
        good = stream < PROCESSES * 4 and stream & 3 in (OUTPUT, ERROR)
    elif about == _PROCESS:
        good = stream < PROCESSES * 4 and not stream & 3
    else:
        good = not stream
    if not good:
        raise ProtocolError(f"a frame of type {kind} about stream {stream}")


def value(payload: memoryview, at: int = 0, length: int = 4) -> int:
    """An unsigned number in a payload."""
    return int.from_bytes(payload[at : at + length], "big")


def text(payload: memoryview, at: int = 0) -> str:
    """The text at the end of a payload, without what could disturb a terminal or a log."""
    said = bytes(payload[at:]).decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in said)
