"""A syslog of the tests' own, at /dev/log, where this host has none; /dev is the host's own in the devcluster."""

from __future__ import annotations

import socket
from pathlib import Path

SOCKET = Path("/dev/log")


class Syslog:
    """Receives what is sent to syslog; :meth:`lines` are all that have arrived."""

    def __init__(self) -> None:
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._channel.bind(str(SOCKET))
        SOCKET.chmod(0o666)
        self._channel.setblocking(False)
        self._lines: list[str] = []

    @property
    def lines(self) -> list[str]:
        """What has arrived so far."""
        while True:
            try:
                self._lines.append(self._channel.recv(65536).decode())
            except BlockingIOError:
                return self._lines

    def close(self) -> None:
        """End it."""
        self._channel.close()
        SOCKET.unlink()
