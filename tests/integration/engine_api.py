"""docker's API, which podman has too."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import closing
from typing import Any

from .waiting import PATIENCE


class Api:
    """The one behind a socket in the file system."""

    def __init__(self, path: str) -> None:
        self.path = path

    def answer(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """The answer's HTTP status and body."""
        with closing(_Connection(self.path)) as connection:
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def ask(self, method: str, path: str, body: object = None) -> bytes:
        """The body of an answer that must be a good one."""
        status, read = self.answer(method, path, body)
        assert status < 300, (method, path, status, read)
        return read

    def read(self, method: str, path: str, body: object = None) -> Any:
        """The document that the answer is."""
        return json.loads(self.ask(method, path, body))


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)
