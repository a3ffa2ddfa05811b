"""The container's input and output as the anchor holds them, and the anchor's own words: there, and in the logs."""

from __future__ import annotations

import _socket
import os
import stat

from scrun import log, signal, wait
from scrun.lifecycle.container.directory import LOG
from scrun.lifecycle.process import fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.messages import ToCreator
    from scrun.wait import Kept


_PTMX = os.makedev(5, 2)


class Stdio:
    """``descriptors`` are the container's three, -1 for one that the anchor has no longer.

    ``levels`` say what goes to the anchor's own log, and what to syslog.
    """

    def __init__(self, container: Container) -> None:
        self.descriptors: list[int] = [0, 1, 2]
        self.levels: tuple[str, str] = ("debug", "quiet")
        self._container = container
        self._log = -1  # the anchor's own log, once it was written to
        self._relay = -1  # a pipe to the process that says what the reader had no room for

    def keep(self, kept: Kept) -> list[int]:
        """The descriptors, for scrun-wait.

        Raises:
            Busy: something of the anchor's own is still said.
        """
        wait.check(self._relay < 0, "the anchor says something")
        return [kept(descriptor) for descriptor in self.descriptors]

    def replace(self, descriptors: list[int]) -> None:
        """Use these for the container's; close those that are no longer among them."""
        if self._relay >= 0 and descriptors[2] != self.descriptors[2]:
            os.close(self._relay)  # what is in it is still said
            self._relay = -1
        for descriptor in {*self.descriptors} - {*descriptors, -1}:
            os.close(descriptor)
            if descriptor <= 2:  # the lowest three stay open, so that nothing else gets such a number
                os.open(os.devnull, os.O_RDWR)
        self.descriptors = descriptors

    def log(self, level: str, message: str, *, system: bool = True) -> None:
        """Write to the anchor's own log, and to syslog unless somebody else does, as far as the levels let through."""
        in_file, in_syslog = self.levels
        if log.rank(level) <= log.rank(in_file) and not self._container.is_removed:  # who removes it must find it empty
            if self._log < 0:
                self._log = log.open_shared(self._container.child(LOG))
            log.append_to(self._log, level, message)
        if system and log.rank(level) <= log.rank(in_syslog):
            log.to_syslog(level, f"container {self._container.id}: {message}", log.DAEMON)

    def note(self, message: ToCreator) -> None:
        """Write what a worker has to say to the log, if it is for that."""
        if "log" in message:
            self.log(message["log"], message["message"])
        elif "progress" in message:
            self.log("debug", message["progress"])

    def say(self, message: str) -> None:
        """Tell who reads the container's standard error, and don't wait for it: a pager may be in no hurry to read."""
        self.log("error", message)
        if self.descriptors[2] >= 0:
            try:
                self._write(f"scrun: {message}\n".encode("utf-8", "backslashreplace"))
            except OSError:
                pass  # nobody reads it, or there is no room for more; the log has it

    def pass_on(self, data: bytes) -> None:
        """Pass on what the container's step has said, as it is and without waiting, like :meth:`say`."""
        if data and self.descriptors[2] >= 0:
            try:
                self._write(data)
            except OSError:
                pass

    def _write(self, data: bytes) -> None:
        if self._relay < 0:
            data = data[_write_at_once(self.descriptors[2], data) :]
            if data:
                self._relay = _start_relay(self.descriptors[2])
        if data:
            os.write(self._relay, data)

    def tell(self, level: str, message: str) -> None:
        """What stage_out has to say: changes that did not come back are for who runs the container, too."""
        if level == "error":
            self.say(message)
        else:
            self.log(level, message)


def _write_at_once(descriptor: int, data: bytes) -> int:
    """Write what there is room for now; the result is how much.

    The descriptor is shared with the caller, so it must go on to block: it is opened anew for this.
    """
    status = os.fstat(descriptor)
    kind = stat.S_IFMT(status.st_mode)
    try:
        if kind == stat.S_IFSOCK:
            channel = _socket.socket(fileno=os.dup(descriptor))
            try:
                return channel.send(data, _socket.MSG_DONTWAIT)
            finally:
                channel.close()
        if kind not in (stat.S_IFIFO, stat.S_IFCHR):
            return os.write(descriptor, data)
        if status.st_rdev == _PTMX:  # to open that makes another terminal
            return 0
        how = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        again = os.open(f"/proc/self/fd/{descriptor}", how)
        try:
            return os.write(again, data)
        finally:
            os.close(again)
    except BrokenPipeError:
        raise
    except OSError:
        return 0  # no room, or no right to open it


def _start_relay(descriptor: int) -> int:
    """Have a process of its own write to the descriptor, as long as that takes; what is it to write goes to the result.

    The process ends when the result was closed and all is written, or when nobody reads.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    ends = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE)
    fork.left_alone(
        lambda: os.execv("/bin/cat", ["cat"]), stdio=(read_end, descriptor, fork.QUIET), keep=(), default=ends
    )
    os.close(read_end)
    os.set_blocking(write_end, False)
    return write_end
