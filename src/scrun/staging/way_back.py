"""The exchange with the step that sends what a container changed: on all nodes at once, over their connections.

The script (send.sh) gets orders on its stdin, which all nodes read, and answers by lines of srun's stdout::

    order                      answer                  what the node does
    (none: at once)            unchanged               has found nothing to send
                               changed BYTES           has found something. BYTES: how much about, or unknown
    reach PORT TOKEN           reached,                connects to this host (arrivals.py), and sends its changes there,
                                                       and then "sent"
                               unreachable,            can't connect
                               unreachable silent      got no answer for 5 s: a firewall
    send NODE                  archive, sent           that node sends them between these lines, through srun's stdout;
                                                       lost: not all of them could be read
    remove                     none                    removes the container's directory

A step that stands by is told to begin (place.py). A node that hasn't changed anything only follows ``remove``. ``bad
WHY`` is a failure. Streams are read in the order of the nodes, and a node that isn't read yet waits. Little is sent
through srun, because to connect costs more than that.
"""

from __future__ import annotations

import os

from scrun.errors import StagingError
from scrun.marks import MARK, take_first
from scrun.staging import node_directory
from scrun.staging.known import Known
from scrun.staging.node_changes import BrokenArchive

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import IO

    from scrun.staging.arrivals import Arrivals
    from scrun.staging.child import Child, Standing
    from scrun.staging.children import Children
    from scrun.staging.model import ContainerFiles, LogCall, NodeSteps

LITTLE = 1 << 18  # bytes; to connect costs as much as to send some 300 KB through srun


class WayBack:
    """The exchange with one step on ``nodes``. Leaving the ``with`` block ends it, and nothing is removed by that.

    Args:
        children: runs the step, and reads its output.
        step: runs commands on the nodes.
        argv: the script and its arguments, for a new step.
        nodes: the nodes whose changes are wanted.
        standing: the step that does it in place of a new one, or None.
        left: directories of the root filesystem that it removes if they are empty, one a line.
        container: the container; its ``memory`` knows which nodes can't connect.
        log: is called with a level and a message.

    Raises:
        OSError: the step can't be started.
    """

    def __init__(
        self,
        children: Children,
        step: NodeSteps,
        argv: Sequence[str],
        nodes: Sequence[str],
        standing: Standing | None,
        left: str,
        container: ContainerFiles,
        log: LogCall,
    ) -> None:
        self._children, self._ports, self._nodes, self._log = children, step.ports, nodes, log
        self._known = Known(container.memory, None)
        self._arrivals: Arrivals | None = None
        self._connected: set[str] = set()
        self._said: dict[str, str] = {}  # the nodes' first answers
        self._stream: _Connection | _Output | None = None  # what stream_of returned last
        self.sender: Child
        if standing:
            self.sender, self._orders = children.take_over(standing)
            self._order("fetch")
            self._write(f"{left}\0")
            return
        read_end, self._orders = os.pipe2(os.O_CLOEXEC)
        try:
            self.sender = children.step(step, "fetch", argv, stdin=read_end, nodes=nodes)
        except BaseException:
            os.close(self._orders)
            raise
        finally:
            os.close(read_end)

    def __enter__(self) -> WayBack:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        """Give no more orders, and read no more streams: the nodes keep their files, and the step ends."""
        if self._orders >= 0:
            os.close(self._orders)
            self._orders = -1
        if self._arrivals:
            self._arrivals.close()
            self._arrivals = None

    def stream_of(self, node: str) -> IO[bytes] | None:
        """The archive of a node's changes, as the file that tarfile reads; None if nothing has changed there.

        It has to be read to its end before the next node's is asked for.

        Raises:
            BrokenArchive: the node's step has ended.
            StagingError: the node has failed.
        """
        if not self._said:
            self._ask()
        if self._said[node].startswith("bad "):
            raise StagingError(f"{node}: {self._said[node][4:]}")
        if not self._said[node].startswith("changed "):
            return None
        if node in self._connected and self._arrivals:
            self._stream = _Connection(self._children, self._arrivals.of(node), node)
        else:
            self._stream = self._through_srun(node)
        return self._stream  # type: ignore[return-value]  # as far as needed

    def is_whole(self) -> bool:
        """Read the last stream to its end; return whether the node has sent all its changes.

        Raises:
            BrokenArchive: the connection broke.
        """
        return self._stream is not None and self._stream.is_whole()

    def remove(self) -> bool:
        """Have all nodes remove the container's directory, and wait for the step's end; False if the step failed."""
        self._order("remove")
        self.hang_up()
        self._children.wait()
        return not self.sender.process.wait()

    def _ask(self) -> None:
        """Learn which nodes have changes, and have them connect, unless it is little and one node's."""
        self._hear(self._nodes)
        self._said = self._answers()
        changed = {node: self._said[node][8:] for node in self._nodes if self._said[node].startswith("changed ")}
        sizes = [int(size) if size.isdigit() else LITTLE for size in changed.values()]
        if sizes and (len(sizes) > 1 or sizes[0] >= LITTLE) and not self._known.is_cut_off(self._nodes):
            self._connect([*changed])

    def _connect(self, nodes: Sequence[str]) -> None:
        from scrun.staging.arrivals import Arrivals  # its imports take 15 ms

        try:
            self._arrivals = Arrivals(self._ports, nodes=len(nodes))
        except OSError as error:
            self._log("info", f"no port for the nodes' connections: {error.strerror}: srun carries the changes")
            return
        self._order(f"reach {self._arrivals.port} {self._arrivals.token}")
        import tarfile  # noqa: F401  which takes a while, as the nodes do

        self._hear(nodes, before="changed ")
        answers = self._answers()
        self._connected = {node for node in nodes if answers[node] == "reached"}
        self._arrivals.wait_for(self._connected)
        missing = [node for node in nodes if node not in self._connected]
        if missing and self._arrivals.visits <= 2 * len(nodes):  # else strangers may have kept the nodes out
            self._known.learn_cut_off([node for node in missing if answers[node] == "unreachable silent"])
        if missing:
            port = self._arrivals.port
            self._log("debug", f"{', '.join(missing)} can't connect to port {port} of this host: srun carries it all")

    def _through_srun(self, node: str) -> _Output:
        stream = _Output(self._children, self.sender, node)
        self._order(f"send {node}")
        import tarfile  # noqa: F401  which takes a while, as the node does

        stream.begin()
        return stream

    def _order(self, order: str) -> None:
        self._write(f"{order}\n")

    def _write(self, text: str) -> None:
        try:
            os.write(self._orders, text.encode())
        except BrokenPipeError:
            pass  # the step has ended, which its output tells

    def _hear(self, nodes: Sequence[str], before: str = "") -> None:
        """Wait until each node has answered, something else than ``before``.

        Raises:
            BrokenArchive: the step has ended before that.
        """

        def have_answered() -> bool:
            answers = self._answers()
            return all(node in answers and not (before and answers[node].startswith(before)) for node in nodes)

        if not self._children.wait_for(have_answered):
            raise BrokenArchive("the archive was cut short")

    def _answers(self) -> dict[str, str]:
        return node_directory.answers(self.sender)


_SENT = b"sent\n"  # the end of a stream's last line; lost is as long


class _Output:
    """A node's archive in the step's stdout, as the file that tarfile reads: between two lines of the script's."""

    def __init__(self, children: Children, child: Child, node: str) -> None:
        self._children, self._child, self._node = children, child, node
        self._end = f"\n{MARK}> {node} ".encode()
        self._is_over = self._is_whole = False

    def begin(self) -> None:
        """Drop everything before the archive.

        Raises:
            BrokenArchive: the output ended before that.
        """
        found = False

        def has_come() -> bool:
            nonlocal found
            while not found and (said := take_first(self._child.out)) is not None:
                found = said == f"{self._node} archive"
            return found

        if not self._children.wait_for(has_come):
            raise BrokenArchive("the archive was cut short")

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes; b"" at the end."""
        out, end = self._child.out, self._end
        if self._is_over:
            return b""
        longest = len(end) + len(_SENT)
        self._children.wait(lambda: len(out) >= longest or not self._children.is_open(out))
        at = out.find(end)
        if at < 0:  # its beginning may be there
            at = len(out) - (len(end) - 1 if self._children.is_open(out) else 0)
        elif at == 0:
            self._is_over, self._is_whole = True, out.startswith(end + _SENT)
            return b""
        data = bytes(out[: min(size, at)])
        del out[: len(data)]
        return data

    def is_whole(self) -> bool:
        """Read to the end, so that nothing is in the next node's archive; return whether the node has sent all."""
        while self.read(1 << 16):
            pass
        return self._is_whole


class _Connection:
    """A node's connection as the file that tarfile reads."""

    def __init__(self, children: Children, connection: socket.socket, node: str) -> None:
        self._children, self._connection = children, connection
        self._end = f"\n{MARK}> {node} ".encode() + _SENT
        self._last = b""  # as much of what has been read as the end is long
        connection.setblocking(False)

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes; b"" at the end.

        Raises:
            BrokenArchive: the connection broke.
        """
        while True:
            self._children.check()
            try:
                data = self._connection.recv(size)
                self._last = (self._last + data[-len(self._end) :])[-len(self._end) :]
                return data
            except BlockingIOError:
                self._children.wait_until_readable(self._connection.fileno())
            except OSError as error:
                raise BrokenArchive(f"the connection broke: {error.strerror}") from error

    def is_whole(self) -> bool:
        """Read to the end; return whether the node has sent all.

        Raises:
            BrokenArchive: the connection broke.
        """
        while self.read(1 << 16):
            pass
        return self._last == self._end
