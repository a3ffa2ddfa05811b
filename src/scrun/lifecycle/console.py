"""The container's terminal: made here, its master given to the caller over --console-socket (runc's terminals.md)."""

from __future__ import annotations

import _socket
import os
import termios

from scrun.errors import ScrunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def open_terminal(console_socket: str, size: Sequence[int] | None) -> int:
    """Make a pseudo terminal, send its master, and return its slave.

    Args:
        console_socket: the path of a listening unix socket.
        size: rows and columns of process.consoleSize, if it says any.

    Raises:
        ScrunError: there is no terminal to be had, or nobody listens.
    """
    try:
        master, slave = os.openpty()
    except OSError as error:
        raise ScrunError(f"can't make a terminal: {error.strerror}") from error
    try:
        if size:
            termios.tcsetwinsize(slave, (size[0], size[1]))
        connection = connect(console_socket)
        name = os.ttyname(slave).encode()
        connection.sendmsg([name], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, master.to_bytes(4, "little"))])
        connection.close()
    except OSError as error:
        os.close(slave)
        raise ScrunError(f"can't send the terminal to the console socket {console_socket}: {error.strerror}") from error
    finally:
        os.close(master)
    return slave


def connect(path: str) -> _socket.socket:
    """Connect to a unix socket by a path of any length: unix(7) allows 107 bytes, a descriptor's name is short."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    directory = os.open(os.path.dirname(path) or ".", os.O_PATH | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
    except OSError:
        connection.close()
        raise
    finally:
        os.close(directory)
    return connection
