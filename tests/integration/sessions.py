"""A person at a terminal: a command on a pseudo terminal of its own, what is typed there, and what is on the screen."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from typing import Any

import pytest

from .users import User, Variables
from .waiting import PATIENCE

# A command at the end of a script: the container's process lives until a line is typed. Without it crun's relay (1.28)
# sometimes prints the process's last output in red, with a time stamp, as if it were an error of crun's.
LINGER = "head -n 1 >/dev/null"  # after a trap the read of busybox never returns (1.38)


class Session:
    """One command at one terminal, which is its controlling one, in the foreground."""

    def __init__(self, user: User, *argv: str, env: Variables | None = None, size: tuple[int, int] = (24, 80)) -> None:
        self.master, slave = os.openpty()
        self.resize(*size)
        os.fchown(slave, user.uid, user.gid)
        os.fchmod(slave, 0o620)
        self.screen = b""
        self.seen = 0  # how much of the screen was waited for already
        # setsid forks only where it has to; our start_new_session makes it a leader, hence --wait.
        self.process = user.start(
            *("setsid", "--ctty", "--wait", *argv), env=env, stdin=slave, stdout=slave, stderr=slave
        )
        self._slave = slave  # kept: what the command did to the terminal is to be seen when it has ended

    def type(self, keys: bytes | str) -> None:
        """Type."""
        os.write(self.master, keys.encode() if isinstance(keys, str) else keys)

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def mode(self) -> list[Any]:
        """The terminal's settings (termios(3))."""
        return termios.tcgetattr(self._slave)

    def expect(self, pattern: str, timeout: float = PATIENCE) -> re.Match[bytes]:
        """Wait until that is on the screen, behind what was waited for before."""
        deadline = time.monotonic() + timeout
        while not (found := re.compile(pattern.encode()).search(self.screen, self.seen)):
            self._read(deadline, f"{pattern!r} is on the screen")
        self.seen = found.end()
        return found

    def let_end(self) -> int:
        """Type the line that :data:`LINGER` waits for; the command's exit status."""
        self.type("\r")
        return self.ended()

    def ended(self, timeout: float = PATIENCE) -> int:
        """The command's exit status, once it has ended; the screen is complete then."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            self._read(deadline, "it ends", 0.05)
        while select.select([self.master], [], [], 0)[0]:
            self.screen += os.read(self.master, 65536)
        return self.process.returncode

    def ends_within(self, seconds: float) -> bool:
        """Whether the command ends that soon."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self.master], [], [], 0.05)[0]:
                self.screen += os.read(self.master, 65536)
        return self.process.poll() is not None

    def shows_within(self, text: bytes, seconds: float) -> bool:
        """Whether that comes on the screen that soon, behind what was waited for before."""
        deadline = time.monotonic() + seconds
        while text not in self.screen[self.seen :] and time.monotonic() < deadline:
            if select.select([self.master], [], [], 0.05)[0]:
                self.screen += os.read(self.master, 65536)
        return text in self.screen[self.seen :]

    def unread(self) -> int:
        """How many bytes were typed that nobody has read yet."""
        return int.from_bytes(fcntl.ioctl(self._slave, termios.FIONREAD, bytes(4)), "little")

    def pid(self) -> int:
        """The command itself, below setsid."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as children:
            return int(children.read().split()[0])

    def close(self) -> None:
        """The window is closed; whoever is left at it hears of it."""
        os.close(self._slave)
        os.close(self.master)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            pytest.fail(f"still running when its terminal had gone; the screen was {self.screen!r}")

    def _read(self, deadline: float, what: str, longest: float = 1.0) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            pytest.fail(f"waited in vain until {what}; the screen was {self.screen[self.seen :][-500:]!r}")
        if select.select([self.master], [], [], min(left, longest))[0]:
            self.screen += os.read(self.master, 65536)
