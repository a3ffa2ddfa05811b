"""Login's side of the connection to the node, in its simplest form: what docs/protocol.md says, and nothing more."""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import struct
from typing import NamedTuple

START, PART, EXEC, RUN, DATA, EOF, CREDIT, CLOSED, SIGNAL, RESIZE, STOP, CONTINUE, ACK, BYE = range(1, 15)
READY, STARTED, FAILED, EXIT, ANSWER, DONE, NOTE = range(32, 39)
HEADER = 9
PATIENCE = 20.0  # seconds that a test waits for a frame


class Frame(NamedTuple):
    """One message: its type, the stream that it is about, and its payload."""

    type: int
    stream: int
    payload: bytes


class Login:
    """A listening socket, and the connection of one agent, whatever becomes of its TCP connections."""

    def __init__(self, key: bytes, address: str = "127.0.0.1") -> None:
        self.key = key
        self.listener = socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
        self.port = self.listener.getsockname()[1]
        self.connection: socket.socket | None = None
        self.name = b""
        self.received = 0  # bytes of whole frames
        self.told = 0
        self.sent = b""  # all that was sent, from the beginning
        self.acknowledged = 0
        self.acknowledging = True
        self._bytes = b""

    def accept(self) -> bytes:
        """Take a connection and shake hands; the result is the agent's name."""
        self.listener.settimeout(PATIENCE)
        connection, _ = self.listener.accept()
        connection.settimeout(PATIENCE)
        self.connection, self._bytes = connection, b""
        first = self.exactly(56)
        assert first[:8] == b"scrun\0\0\1"
        name, theirs, ours = first[8:24], first[24:], os.urandom(32)

        def mac(letter: bytes, rest: bytes = b"") -> bytes:
            return hmac.digest(self.key, letter + name + theirs + ours + rest, hashlib.sha256)

        connection.sendall(ours + mac(b"L"))
        third = self.exactly(40)
        assert third[8:] == mac(b"N", third[:8])
        assert self.name in (b"", name)
        self.name = name
        position = struct.pack(">Q", self.received)
        connection.sendall(position + mac(b"R", position))
        again = int.from_bytes(third[:8], "big")
        assert self.acknowledged <= again <= len(self.sent)
        connection.sendall(self.sent[again:])
        return name

    def exactly(self, size: int) -> bytes:
        """So many bytes of the connection; EOFError if it ends."""
        assert self.connection
        while len(self._bytes) < size:
            more = self.connection.recv(1 << 20)
            if not more:
                raise EOFError("the agent has closed the connection")
            self._bytes += more
        taken, self._bytes = self._bytes[:size], self._bytes[size:]
        return taken

    def send(self, type_: int, stream: int = 0, payload: bytes = b"") -> None:
        """Send a frame, or keep it for the next connection."""
        frame = struct.pack(">IBI", len(payload), type_, stream) + payload
        self.sent += frame
        if self.connection:
            try:
                self.connection.sendall(frame)
            except OSError:
                self.cut()

    def read(self) -> Frame:
        """The next frame; acknowledged now and then."""
        header = self.exactly(HEADER)
        size, type_, stream = struct.unpack(">IBI", header)
        try:
            payload = self.exactly(size)
        except (EOFError, OSError):
            self._bytes = header + self._bytes
            raise
        self.received += HEADER + size
        if type_ == ACK:
            self.acknowledged = int.from_bytes(payload, "big")
        if self.acknowledging and self.received - self.told > 65536:
            self.told = self.received
            self.send(ACK, 0, struct.pack(">Q", self.received))
        return Frame(type_, stream, payload)

    def wait(self, type_: int, stream: int | None = None) -> Frame:
        """The next frame of a type; others are passed over."""
        while True:
            frame = self.read()
            if frame.type == type_ and stream in (None, frame.stream):
                return frame

    def run(self, process: int, *words: str) -> None:
        """Ask for a command beside the container."""
        self.send(PART, process * 4, b"".join(word.encode() + b"\0" for word in words))
        self.send(RUN, process * 4)

    def exec(self, process: int, request: str, terminal: bool = False, rows: int = 24, columns: int = 80) -> None:
        """Ask for a process in the container."""
        self.send(PART, process * 4, request.encode())
        self.send(EXEC, process * 4, struct.pack(">BHH", terminal, rows, columns))

    def signal(self, number: int, process: int = 0, everybody: bool = False, request: int = 1) -> int:
        """Send a signal; the result is errno of the answer."""
        self.send(SIGNAL, process * 4, struct.pack(">IIB", request, number, everybody))
        return self.answer(request)

    def answer(self, request: int) -> int:
        """errno of the answer to a request."""
        while True:
            answer = self.wait(ANSWER).payload
            if answer[:4] == struct.pack(">I", request):
                return int.from_bytes(answer[4:8], "big")

    def output(self, process: int, credit: bool = True) -> tuple[bytes, bytes, int]:
        """What a process writes until it has ended and closed both streams, and its status."""
        written = {1: b"", 2: b""}
        status = None
        open_ = {1, 2}
        while status is None or open_:
            frame = self.read()
            if frame.stream // 4 != process:
                continue
            if frame.type == DATA:
                written[frame.stream % 4] += frame.payload
                if credit:
                    self.send(CREDIT, frame.stream, struct.pack(">I", len(frame.payload)))
            elif frame.type == EOF:
                open_.discard(frame.stream % 4)
            elif frame.type == EXIT:
                status = int.from_bytes(frame.payload, "big")
            elif frame.type == FAILED:
                raise ChildProcessError(frame.payload)
        return written[1], written[2], status

    def cut(self) -> None:
        """Reset the connection, as a broken link ends it."""
        if self.connection:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        self.connection = None

    def end(self) -> None:
        """Say in good order that nothing more comes, whatever hasn't been read."""
        if self.connection:
            try:
                self.connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass

    def close(self) -> None:
        """Close both in good order."""
        if self.connection:
            self.connection.close()
        self.connection = None
        self.listener.close()
