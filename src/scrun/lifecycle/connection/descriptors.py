"""Use somebody else's descriptors without ever waiting for them.

The flags of a descriptor (O_NONBLOCK) belong to the open file, which is shared with the caller, so they are left alone:
a pipe or a terminal is opened anew by its name under /proc, a socket has a flag for each call, and a file or /dev/null
is always ready. What can't be opened anew (another user's, or a terminal's master, of which that would make another)
is left to a child process.
"""

from __future__ import annotations

import _socket
import fcntl
import os
import stat

from scrun import signal
from scrun.lifecycle.process import fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self, TypedDict

    from scrun.wait import Kept

    class DescriptorState(TypedDict):
        """A :class:`Descriptor` that needs no child."""

        number: int
        is_always_ready: bool
        is_socket: bool


_PTMX = os.makedev(5, 2)
_MEMORY = 1  # major number of /dev/null, /dev/zero, /dev/full …: they never keep anybody waiting
LARGEST_ANSWER = 4096  # bytes that a pipe takes in one piece (PIPE_BUF), so that one read gets all of it
_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE)


def _is_always_ready(status: os.stat_result) -> bool:
    kind = stat.S_IFMT(status.st_mode)
    return kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFBLK) or (
        kind == stat.S_IFCHR and os.major(status.st_rdev) == _MEMORY
    )


class Descriptor:
    """A descriptor of our own for somebody else's open file; the other one is left as it is.

    ``needs_child`` says that reading or writing may wait, and is for a child process.
    """

    def __init__(self, descriptor: int, flags: int) -> None:
        status = os.fstat(descriptor)
        self._socket: _socket.socket | None = None
        self.needs_child = False
        self.is_always_ready = _is_always_ready(status)
        if stat.S_ISSOCK(status.st_mode):
            self._socket = _socket.socket(fileno=_duplicate(descriptor))
            self.number = self._socket.fileno()
        elif self.is_always_ready:
            self.number = _duplicate(descriptor)  # not opened anew: its position is shared
        else:
            self.number = self._open_anew(descriptor, status, flags)

    @classmethod
    def woken(cls, state: DescriptorState) -> Self:
        """The same, after scrun-wait."""
        made = cls.__new__(cls)
        made.number, made.is_always_ready, made.needs_child = state["number"], state["is_always_ready"], False
        made._socket = _socket.socket(fileno=made.number) if state["is_socket"] else None
        return made

    def keep(self, kept: Kept) -> DescriptorState:
        """What it is, for scrun-wait."""
        return {
            "number": kept(self.number),
            "is_always_ready": self.is_always_ready,
            "is_socket": self._socket is not None,
        }

    def _open_anew(self, descriptor: int, status: os.stat_result, flags: int) -> int:
        if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _PTMX:
            try:
                how = flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                return os.open(f"/proc/self/fd/{descriptor}", how)
            except OSError:
                pass  # no right to, or nobody reads it any more, which writing to it will tell
        self.needs_child = True
        return _duplicate(descriptor)

    @property
    def is_final(self) -> bool:
        """Whether a reader that has gone can't come back: that of a pipe without a name, or of a socket."""
        return self._socket is not None or os.readlink(f"/proc/self/fd/{self.number}").startswith("pipe:")

    def read(self, length: int) -> bytes:
        """Read what is there.

        Raises:
            BlockingIOError: there is nothing now.
            OSError: as read(2) and recv(2).
        """
        if self._socket:
            return self._socket.recv(length, _socket.MSG_DONTWAIT)
        return os.read(self.number, length)

    def write(self, data: memoryview) -> int:
        """Write what there is room for.

        Raises:
            BlockingIOError: there is no room now.
            OSError: as write(2) and send(2).
        """
        if self._socket:
            return self._socket.send(data, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
        return os.write(self.number, data)

    def use(self, number: int) -> None:
        """Have another descriptor, that of a child, in the place of this."""
        self.close()
        self._socket, self.number, self.is_always_ready, self.needs_child = None, number, False, False

    def close(self) -> None:
        """Close it."""
        if self._socket:
            self._socket.close()
        else:
            os.close(self.number)


def _duplicate(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)


def write_by_child(descriptor: Descriptor) -> int:
    """Have cat(1) write to the descriptor what is written into a pipe of ours, which takes its place; cat's pid.

    The child ends when the pipe is closed and all is written, or when nobody reads.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(write_end, False)
    pid = fork.child(
        lambda: os.execv("/bin/cat", ["cat"]), stdio=(read_end, descriptor.number, fork.QUIET), keep=(), default=_ENDS
    )
    os.close(read_end)
    descriptor.use(write_end)
    return pid


def read_by_child(descriptor: Descriptor) -> tuple[int, Callable[[int], None]]:
    """Have a child read from the descriptor into a pipe of ours, which takes its place.

    The child reads nothing that it wasn't asked for. The result is its pid, and what asks it for at most so many bytes
    (:data:`LARGEST_ANSWER`), once for each answer; 0: there will be no more.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    wanted, want = os.pipe2(os.O_CLOEXEC)

    def read() -> None:
        while asked := os.read(0, 4):
            data = os.read(1, int.from_bytes(asked, "big"))
            if not data:
                return
            os.write(2, data)

    pid = fork.child(read, stdio=(wanted, descriptor.number, write_end), keep=(), default=_ENDS)
    for end in (wanted, write_end):
        os.close(end)
    os.set_blocking(read_end, False)
    descriptor.use(read_end)
    asking = os.fdopen(want, "wb", buffering=0)

    def ask(length: int) -> None:
        if length:
            asking.write(length.to_bytes(4, "big"))
        else:
            asking.close()

    return pid, ask
