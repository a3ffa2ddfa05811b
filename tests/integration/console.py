"""A console socket (runc's terminals.md): where a runtime sends the master of a terminal."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .waiting import PATIENCE


class Console:
    """It listens at ``path``."""

    def __init__(self, listening: socket.socket, path: Path) -> None:
        self._listening, self.path = listening, path
        self.masters: list[int] = []

    def accept(self) -> int:
        """The master that somebody has sent."""
        connection, _ = self._listening.accept()
        with connection:
            name, descriptors, _, _ = socket.recv_fds(connection, 4096, 8)
        self.masters.extend(descriptors)
        assert name  # its content is for debugging only (terminals.md)
        assert len(descriptors) == 1
        return self.masters[-1]


@contextmanager
def listening(path: Path) -> Iterator[Console]:
    """Listen at that path, for anybody."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
        path.chmod(0o777)
        made.listen()
        made.settimeout(PATIENCE)
        console = Console(made, path)
        yield console
    for master in console.masters:
        os.close(master)


def resize(master: int, rows: int, columns: int) -> None:
    """Set the window's size."""
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
