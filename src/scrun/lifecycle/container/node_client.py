"""How a command reaches a container's nodes: by the anchor's second socket, and the anchor's connection to them.

The other side is :mod:`scrun.lifecycle.anchor.node_requests`.
"""

from __future__ import annotations

import _socket
import os
import sys

from scrun import fastjson
from scrun.errors import NodeRuntimeError, ScrunError
from scrun.lifecycle.container import messages
from scrun.lifecycle.container.directory import NODE_SOCKET
from scrun.lifecycle.process import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NamedTuple

    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.messages import NodeRequest
else:
    from scrun.named_tuple import NamedTuple

_INT = 4  # bytes of one in SCM_RIGHTS


class Answer(NamedTuple):
    """One node's: the exit status of the command, and all that it printed."""

    status: int
    text: str


def open_request(container: Container, request: NodeRequest, rest: bytes, stdio: Sequence[int] = ()) -> int:
    """Send a request with its large part and descriptors; the result is the connection on which it is answered.

    Raises:
        NodeRuntimeError: the container has no connection to its nodes, and why.
        ScrunError: its anchor can't be reached.
    """
    if why := container.record.get("unconnected"):
        raise NodeRuntimeError(f"container {container.id!r} can't be reached on its nodes: {why}")
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    file = os.memfd_create("request")
    try:
        with open(file, "wb", closefd=False) as written:
            written.write(rest)
        connection.connect(container.child(NODE_SOCKET))
        descriptors = b"".join(each.to_bytes(_INT, sys.byteorder) for each in (*stdio, file))
        line = fastjson.dumps(request).encode("ascii")
        connection.sendmsg([line], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)])
    except (FileNotFoundError, ConnectionRefusedError, BrokenPipeError, ConnectionResetError):
        connection.close()
        now = "is not running any more" if container.record.get("step") else "does not run yet"
        raise NodeRuntimeError(f"container {container.id!r} {now}") from None
    except OSError as error:
        connection.close()
        raise ScrunError(f"can't reach the anchor of container {container.id!r}: {error.strerror}") from error
    finally:
        os.close(file)
    return connection.detach()


def run(container: Container, *words: str, node: str = "") -> dict[str, Answer]:
    """Run a command on each of the container's nodes, or on one; the answers by the nodes' names.

    A word ``messages.MEMBERS`` stands for the pids of the container's processes on that node.

    Raises:
        NodeRuntimeError: the nodes can't be asked.
    """
    data = "\0".join(words).encode("utf-8", "surrogateescape")
    connection = open_request(container, {"do": "run", "node": node}, data)
    try:
        answer = wire.Reader(connection).next(messages.node_answer)
    finally:
        os.close(connection)
    if answer is None:
        raise NodeRuntimeError(f"container {container.id!r} ended while its nodes were asked")
    wire.raise_failure(answer)
    if "answers" not in answer:
        raise NodeRuntimeError("internal error: the anchor gave another answer than was asked for")
    return {name: Answer(int(str(code)), str(text)) for name, (code, text) in answer["answers"].items()}
