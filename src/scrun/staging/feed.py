"""Feeds one stream to several nodes at once, each over a connection that it has opened to us.

srun's own stdin is broadcast in messages of 1 KB, which took 3 s of a processor for each 100 MB and node; over a
socket it is a tenth. A node reaches us where its srun is (SLURM_SRUN_COMM_HOST), and proves by a token, which it was
given through srun, that it is one of the job's. What it has received counts only when we say so through srun as well.
"""

from __future__ import annotations

import errno
import os
import socket
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

CHUNK = 1 << 20  # bytes
_PATIENCE = 20.0  # seconds for a node that has connected to say who it is


class Feed:
    """Listens from the start; ``sent`` counts the bytes of the stream, ``failed`` says why it broke."""

    def __init__(self, ports: tuple[int, int] = (0, 0)) -> None:
        self.token = os.urandom(16).hex()
        self.sent = 0
        self.failed = ""
        self._connections: dict[str, socket.socket] = {}
        self._changed = threading.Condition()
        self._listener = _listen(ports)
        self._stopped = False
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def wait_for(self, nodes: Collection[str]) -> bool:
        """Whether all these nodes, which have said that they are, are connected."""
        with self._changed:
            return self._changed.wait_for(lambda: set(nodes) <= self._connections.keys(), _PATIENCE)

    def send(self, source: int, nodes: Collection[str]) -> None:
        """Begin to send what comes from the descriptor to these nodes, and close it at its end."""
        receivers = {name: connection for name, connection in self._connections.items() if name in nodes}
        self._start(self._send, source, receivers)

    def close(self) -> None:
        """End it; what was not sent yet is not sent any more."""
        self._stopped = True
        for one in (self._listener, *list(self._connections.values())):
            try:
                one.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for it
            except OSError:
                pass  # it is closed already
        for thread in self._threads:
            thread.join()
        for one in (self._listener, *self._connections.values()):
            one.close()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopped:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            try:
                connection.settimeout(_PATIENCE)
                token, _, node = _line(connection).partition(" ")
                if token == self.token and node not in self._connections:
                    connection.settimeout(None)
                    with self._changed:
                        self._connections[node] = connection
                        self._changed.notify_all()
                    continue
            except OSError:
                pass  # somebody else's
            connection.close()

    def _send(self, source: int, receivers: dict[str, socket.socket]) -> None:
        with open(source, "rb", buffering=0) as stream:
            buffer = memoryview(bytearray(CHUNK))  # one for all: new memory for each piece costs as much as the copying
            while length := stream.readinto(buffer):
                data = buffer[:length]
                for node, connection in receivers.items():
                    try:
                        connection.sendall(data)
                    except OSError as error:
                        self.failed = f"{node}: the connection broke: {error.strerror}"
                        return
                self.sent += length
        for connection in receivers.values():
            try:
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the node will say that its stream was cut short


def _listen(ports: tuple[int, int]) -> socket.socket:
    """A listener on one of the ports, (0, 0) for any: of either family, where the host has both."""
    for port in range(ports[0], ports[1] + 1):
        try:
            if socket.has_dualstack_ipv6():
                return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
            return socket.create_server(("", port))
        except OSError:
            if port == ports[1]:
                raise
    raise OSError(errno.EADDRNOTAVAIL, f"SrunPortRange {ports[0]}-{ports[1]} has no port")


def _line(connection: socket.socket) -> str:
    data = b""
    while not data.endswith(b"\n") and len(data) < 512:
        more = connection.recv(1)
        if not more:
            break
        data += more
    return data.decode("utf-8", "replace").strip()
