"""Make the container's terminal, and send its master to the caller over --console-socket (runc's terminals.md)."""

from __future__ import annotations

import _socket
import fcntl
import os
import sys
import termios

from scrun import fastjson
from scrun.errors import ScrunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scrun.lifecycle.process.loop import Loop


PATIENCE = 10  # seconds that the connection to a console socket may take


def open_terminal(console_socket: str, size: Sequence[int] | None) -> int:
    """Make a pseudoterminal, send its master, and return its slave (pty(7)).

    Args:
        console_socket: the path of a Unix socket on which the caller listens.
        size: rows and columns, if process.consoleSize has them.

    Raises:
        ScrunError: there can be no terminal, or nobody listens.
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
        connection.sendmsg([name], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, master.to_bytes(4, sys.byteorder))])
        connection.close()
    except OSError as error:
        os.close(slave)
        raise ScrunError(f"can't send the terminal to the console socket {console_socket}: {error.strerror}") from error
    finally:
        os.close(master)
    return slave


def set_console_size(bundle: str, terminal: int) -> None:
    """Write the terminal's size into the config that the node's runtime will read, if scrun may write that config.

    `crun run` gives the container's terminal this size, and follows only later changes. podman and docker set the size
    after create, so it isn't known when the config is written. A bundle that was carried to the node can't be changed
    from here; then :class:`Nudge` sends the size.

    Args:
        bundle: the directory of the config.
        terminal: a descriptor of the terminal.
    """
    rows, columns = termios.tcgetwinsize(terminal)
    path = os.path.join(bundle, "config.json")
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            config = fastjson.loads(file.read())
        if not rows or not columns:
            return
        config["process"]["consoleSize"] = {"height": rows, "width": columns}
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with open(os.open(f"{path}.new", flags, 0o644), "w", encoding="utf-8") as file:
            file.write(fastjson.dumps(config))
        os.rename(f"{path}.new", path)
    except (OSError, ValueError, KeyError):
        return


class Nudge:
    """Send the container its window's size again, soon after its start.

    A change of the size is lost while the node's runtime starts. To send the same size twice would be no change, so one
    column is added and removed again, unless the window was changed meanwhile. The altered size has a mark in the
    pixels, which srun doesn't pass on. So a window that a person makes wider by one column is not mistaken for it.
    """

    AFTER = (0.3, 0.55)  # seconds after the start, and from there on
    HOLD = 0.15  # seconds between the two changes, because srun sends only the latest size
    _MARK = b"\x5c\x72\x75\x6e"  # ws_xpixel and ws_ypixel of a struct winsize (ioctl_tty(2)), which no window has

    def __init__(self, loop: Loop, terminal: Callable[[], int]) -> None:
        self._loop, self._terminal = loop, terminal
        self._pauses = list(self.AFTER)
        self._next()

    def _next(self) -> None:
        # One after the other: if the process was kept from running, two at a time would mistake each other's change
        # for the window's.
        if self._pauses:
            self._loop.after(self._pauses.pop(0), self._alter)

    def _alter(self) -> None:
        if (terminal := self._terminal()) < 0:
            return
        size = fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8))
        columns = int.from_bytes(size[2:4], sys.byteorder)
        if any(size[:2]) and 0 < columns < 0xFFFF:
            altered = size[:2] + (columns + 1).to_bytes(2, sys.byteorder) + self._MARK
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, altered)
            self._loop.after(self.HOLD, lambda: self._restore(size, altered))
        else:
            self._next()

    def _restore(self, size: bytes, altered: bytes) -> None:
        if (terminal := self._terminal()) >= 0:
            if fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8)) == altered:
                fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
            self._next()


def connect(path: str) -> _socket.socket:
    """Connect to a Unix socket by a path of any length.

    unix(7) allows 107 bytes, so the path goes through the descriptor of the socket's directory.

    Raises:
        OSError: the connection can't be made.
    """
    directory = os.open(os.path.dirname(path) or ".", os.O_PATH | os.O_CLOEXEC)
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    # A listener that accepts nobody must not keep the anchor waiting (socket(7), SO_SNDTIMEO, a struct timeval).
    long = 8 if sys.maxsize > 1 << 32 else 4
    patience = PATIENCE.to_bytes(long, sys.byteorder) + bytes(long)
    try:
        connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, patience)
        connection.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
    except OSError:
        connection.close()
        raise
    finally:
        os.close(directory)
    return connection
