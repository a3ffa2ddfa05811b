"""Send one stream to several nodes at once, over connections that the nodes open to this host (:mod:`.arrivals`).

This host sends it to each node, or to the first one or two: each node's relay hands the stream on to others while it
comes (docs/protocol.md). So it leaves this host once or twice, however many nodes there are.

srun broadcasts its stdin in messages of 1 KB, which took 3 s of CPU time for each 100 MB and node; a socket takes a
tenth of that. A node uses what it received only when this host confirms it through srun as well.
"""

from __future__ import annotations

import select
import socket
import time

from scrun.staging.arrivals import Arrivals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

CHUNK = 1 << 20  # bytes
_ROW = 16  # nodes at most that stand in a row, each fed by the one before
_PATIENCE = 10.0  # seconds, until a relay has told its port


def fed_by_each(nodes: int) -> int:
    """How many of these nodes this host feeds, and each relay.

    In a row the stream goes over each connection once, so it takes half the time of two where the network is what all
    wait for. The last of many would wait longer, and whoever fails cuts off all behind it.
    """
    return 1 if nodes <= _ROW else 2


class Feed(Arrivals):
    """A listener for nodes, which sends them a stream; see :class:`Arrivals`.

    ``sent`` counts the stream's bytes, and ``failed`` is the reason why the stream broke.
    """

    sent = 0
    failed = ""

    def plant(self, nodes: Sequence[str], few: int) -> list[str]:
        """Tell these nodes' relays where they get the stream; the first ones are fed by this host, and returned.

        This host feeds ``few`` of them, and so does each relay. A node whose relay says nothing is hung up on; it isn't
        in the tree.
        """
        until = time.monotonic() + _PATIENCE
        found = {node: place for node in nodes if (place := self._place(self._connections[node], until))}
        planted = [*found]
        for index, node in enumerate(planted):
            fed = max(0, min(few, len(planted) - few * (index + 1)))
            from_here = index < few
            order = f"take {fed} {'-' if from_here else found[planted[index // few - 1]]}\n"
            self._tell_relay(self._connections[node], order)
        for node in set(nodes) - found.keys():
            self._tell_relay(self._connections[node], "")
        return planted[:few]

    @staticmethod
    def _place(connection: socket.socket, until: float) -> str:
        """Where the relay at a node's connection listens: its address and port; "" if it doesn't say."""
        said = b""
        try:
            while not said.endswith(b"\n") and len(said) < len("relay 65535\n"):
                connection.settimeout(max(0.01, until - time.monotonic()))
                if not (more := connection.recv(1)):
                    return ""
                said += more
            connection.settimeout(None)
            word, port = said.decode().split()
            address = str(connection.getpeername()[0]).removeprefix("::ffff:").partition("%")[0]
            return f"{address} {int(port)}" if word == "relay" and 0 < int(port) < 65536 else ""
        except (OSError, ValueError):
            return ""

    @staticmethod
    def _tell_relay(connection: socket.socket, order: str) -> None:
        try:
            if order:
                connection.sendall(order.encode())
            else:
                connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the node tells that its stream was cut

    def _wait_for(self, source: int) -> bool:
        """Wait until the descriptor can be read; False if this feed is closed meanwhile, for a disk may hang."""
        poll = select.poll()
        poll.register(source, select.POLLIN)
        poll.register(self._end, select.POLLIN)
        return self._end not in [descriptor for descriptor, _ in poll.poll()]

    def send(self, source: int, nodes: Collection[str], *, needs_all: bool = True) -> None:
        """Start to send everything from the descriptor ``source`` to these nodes; close it at the end.

        The stream breaks if one of them is lost; or, if not all are needed, that one is left out.
        """
        receivers = {name: connection for name, connection in self._connections.items() if name in nodes}
        self._start(self._send, source, receivers, needs_all)

    def _send(self, source: int, receivers: dict[str, socket.socket], needs_all: bool) -> None:
        with open(source, "rb", buffering=0) as stream:
            buffer = memoryview(bytearray(CHUNK))  # reused, because new memory for each piece costs as much as copying
            while self._wait_for(source) and (length := stream.readinto(buffer)):
                data = buffer[:length]
                for node, connection in list(receivers.items()):
                    try:
                        connection.sendall(data)
                    except OSError as error:
                        if not needs_all:
                            del receivers[node]
                            continue
                        self.failed = f"{node}: the connection broke: {error.strerror}"
                        return
                self.sent += length
        for connection in receivers.values():
            try:
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the node reports that its stream was cut short
