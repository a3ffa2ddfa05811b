"""Send one stream to several nodes at once, over connections that the nodes open to this host (:mod:`.arrivals`).

srun broadcasts its stdin in messages of 1 KB, which took 3 s of CPU time for each 100 MB and node; a socket takes a
tenth of that. A node uses what it received only when this host confirms it through srun as well.
"""

from __future__ import annotations

import socket

from scrun.staging.arrivals import Arrivals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

CHUNK = 1 << 20  # bytes


class Feed(Arrivals):
    """A listener for nodes, which sends them a stream; see :class:`Arrivals`.

    ``sent`` counts the stream's bytes, and ``failed`` is the reason why the stream broke.
    """

    sent = 0
    failed = ""

    def send(self, source: int, nodes: Collection[str]) -> None:
        """Start to send everything from the descriptor ``source`` to these nodes; close it at the end."""
        receivers = {name: connection for name, connection in self._connections.items() if name in nodes}
        self._start(self._send, source, receivers)

    def _send(self, source: int, receivers: dict[str, socket.socket]) -> None:
        with open(source, "rb", buffering=0) as stream:
            buffer = memoryview(bytearray(CHUNK))  # reused, because new memory for each piece costs as much as copying
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
                pass  # the node reports that its stream was cut short
