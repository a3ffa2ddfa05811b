"""A program that runs beside this process: as much of subprocess.Popen as is needed where somebody waits.

To import subprocess takes 8 ms, which is more than one percent of a `docker run`.
"""

from __future__ import annotations

import os

from scrun import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

QUIET = -3
"""In the place of a descriptor: /dev/null, as subprocess.DEVNULL."""

# Python ignores these signals, and a program would inherit that.
RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)


class Program:
    """Start a program.

    Args:
        argv: its path, or its name on PATH, and its arguments.
        stdin, stdout, stderr: descriptors above 2, or :data:`QUIET`.
        environment: its variables.

    Raises:
        OSError: it can't be started; the error's filename is its path.
    """

    def __init__(
        self, argv: Sequence[str], *, stdin: int, stdout: int, stderr: int, environment: Mapping[str, str]
    ) -> None:
        actions = [
            (os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0)
            if descriptor == QUIET
            else (os.POSIX_SPAWN_DUP2, descriptor, number)
            for number, descriptor in enumerate((stdin, stdout, stderr))
        ]
        self.returncode: int | None = None  # None: it runs; -n: signal n has ended it
        self.pid = os.posix_spawnp(argv[0], [*argv], environment, file_actions=actions, setsigdef=RESTORED)

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self._wait(os.WNOHANG)

    def wait(self) -> int:
        """Wait for its end; return its exit status."""
        status = self._wait(0)
        assert status is not None
        return status

    def terminate(self) -> None:
        """Send it SIGTERM, unless it has ended."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL, unless it has ended."""
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def _wait(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode
