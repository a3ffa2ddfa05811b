"""The engine's network for a container on a node: this host's end of the tunnel (docs/protocol.md, docs/networking.md).

scrun-network, a native program, enters the engine's network namespace, and carries frames between its interfaces and
the node. The anchor gives it the connections that the node opens for this, once they have proved to know the key. If
scrun-network is killed, another one takes over; the container's interfaces stay as they are meanwhile.
"""

from __future__ import annotations

import _socket
import os
import sys

from scrun import small_file, wait
from scrun.lifecycle.process import fork
from scrun.network import PROGRAM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypedDict

    from scrun.lifecycle.container.plan import NetworkPlan
    from scrun.lifecycle.process.loop import Loop
    from scrun.wait import Kept

    Say = Callable[[str], None]

    class EngineNetworkState(TypedDict):
        """An :class:`EngineNetwork` that the container uses; the namespace and the channel are descriptors."""

        namespace: int
        control: int
        pid: int  # scrun-network's
        ended: int
        told: str
        ports: list[list[int]]


_MESSAGE = 1 << 16  # bytes; more than any message of scrun-network's has
_FILES, _MOST = 8, 60000  # files, and bytes of all of them, that the node is told of with the network
_MOST_AT_ONCE = 5  # times that scrun-network may end in a row without having served the node
_DOCKERS_SERVER = "127.0.0.11"
_NAMESPACE, _CONTROL = 4, 3  # scrun-network's descriptors


class EngineNetwork:
    """One container's.

    Args:
        loop: the process's loop.
        plan: what is known of the engine's namespace.
        patience: seconds that a broken connection is waited for.
        log: is called with a level and a line.
        ready: is called with the path on the node of links to the container's namespaces, once it has the network.
        lost: is called with the reason when the container has its network no longer.
        kept: what :meth:`keep` has returned.
    """

    def __init__(
        self,
        loop: Loop,
        plan: NetworkPlan,
        *,
        patience: float,
        log: Callable[[str, str], None],
        ready: Say,
        lost: Say,
        kept: EngineNetworkState | None = None,
    ) -> None:
        self._loop, self._plan, self._patience = loop, plan, patience
        self._log, self._ready, self._lost = log, ready, lost
        self._namespace = -1
        self._control = -1
        self._pid = 0
        self._told = b""  # what the network is, for the next scrun-network
        self._files: dict[str, bytes] = {}  # that the node lacks, by their names in its bundle
        self._ended = 0  # times in a row
        self._why = "scrun-network was killed again and again"
        self._timer = 0
        self._is_open = False
        if kept:
            self._plan = {**plan, "ports": kept["ports"]}
            self._namespace, self._ended, self._told = kept["namespace"], kept["ended"], kept["told"].encode("latin-1")
            self._is_open = True
            self._hear_from(_socket.socket(fileno=kept["control"]), kept["pid"])

    def keep(self, kept: Kept) -> EngineNetworkState | None:
        """What it is, for scrun-wait; None where the container doesn't use it.

        Raises:
            Busy: scrun-network begins or ends.
        """
        if not self._is_open:
            return None
        wait.check(self._control >= 0 and self._told and not self._files, "the network is being set up")
        return {
            "namespace": kept(self._namespace),
            "control": kept(self._control),
            "pid": self._pid,
            "ended": self._ended,
            "told": self._told.decode("latin-1"),
            "ports": self._plan["ports"],
        }

    @property
    def children(self) -> set[int]:
        """The process that stays beside the container's step."""
        return {self._pid} if self._control >= 0 else set()

    @property
    def is_there(self) -> bool:
        """Whether it takes a connection."""
        return self._is_open

    def renew(self, files: Mapping[str, bytes]) -> bool:
        """Have the node's copies of small files be like these when the program begins.

        Args:
            files: contents by path on the node.

        Returns:
            Whether that will be done; too many bytes, which the socket to scrun-network has no room for, are not sent.
        """
        names = {"/".join(path.split("/")[-2:]): data for path, data in files.items()}
        if len(names) > _FILES or sum(map(len, names.values())) > _MOST or any("mounts/" not in name for name in names):
            return False
        self._files = names
        return True

    def begin(self, standin: int) -> None:
        """The container is about to run: take over the engine's interfaces.

        Args:
            standin: the stand-in's pid.

        Raises:
            OSError: the engine's namespace is gone.
        """
        path = self._plan["namespace"] or f"/proc/{standin}/ns/net"
        self._namespace = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if self._plan["near"] and not self._plan["namespace"]:  # podman has set it up since create
            from scrun.lifecycle.container import network_programs

            ports = network_programs.pastas_ports(network_programs.serving_same(self._namespace))
            self._plan = {**self._plan, "ports": ports}
        self._is_open = True
        self._run()

    def take(self, connection: _socket.socket) -> None:
        """Use a connection that the node has opened for the network, in the place of an older one."""
        self._loop.forget(self._timer)
        if self._control >= 0:
            try:
                self._channel.sendmsg([b"c"], [_rights(connection.fileno())])
            except OSError:
                pass  # it has ended; the node connects again
        connection.close()

    def close(self) -> None:
        """Give the engine's namespace back."""
        self._is_open = False
        self._loop.forget(self._timer)
        if self._control >= 0:
            self._loop.let_be(self._control)
            self._channel.close()
            self._control = -1
        if self._namespace >= 0:
            os.close(self._namespace)
            self._namespace = -1

    def _run(self) -> None:
        channel, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        words = [str(_CONTROL), str(_NAMESPACE), *(["again"] if self._told else []), *self._words()]

        def execute() -> int:
            os.execve(PROGRAM, ["scrun-network", *words], {})

        stdio = (fork.QUIET, fork.QUIET, fork.QUIET, theirs.fileno(), self._namespace)
        try:
            pid = fork.child(execute, stdio=stdio, keep=(), session=True)
        except OSError:
            channel.close()
            raise
        finally:
            theirs.close()
        self._hear_from(channel, pid)
        for message in (self._told, *(b"f" + name.encode() + b"\0" + data for name, data in self._files.items())):
            try:
                if message:
                    self._channel.send(message)
            except OSError:
                break  # it has ended already, which the channel tells

    def _hear_from(self, channel: _socket.socket, pid: int) -> None:
        """Listen to scrun-network."""
        channel.setblocking(False)
        self._channel, self._control, self._pid = channel, channel.fileno(), pid
        self._loop.watch(self._control, self._hear)
        self._loop.child(pid, lambda _status: None)

    def _words(self) -> list[str]:
        words = ["near"] if self._plan["near"] else []
        for first, last in self._plan["ports"]:
            words += ["port", str(first), str(last)]
        try:
            text = small_file.read(self._plan["resolv_conf"], _MESSAGE).decode("utf-8", "replace")
        except OSError:
            return words
        return [*words, "names"] if _DOCKERS_SERVER in text.split() else words

    def _hear(self) -> None:
        while self._control >= 0:
            try:
                message = self._channel.recv(_MESSAGE)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self._has_ended()
                return
            self._take_message(message[:1], message[1:])

    def _take_message(self, letter: bytes, rest: bytes) -> None:
        text = rest.decode("ascii", "replace")
        if letter == b"n":
            self._told = rest
            self._log("debug", f"the engine's network: {'; '.join(text.splitlines())}")
        elif letter == b"u":
            self._ended = 0
            self._log("debug", "the node has the engine's network")
            self._files.clear()
            self._ready(text)
        elif letter == b"w":
            self._log("info", f"the node can't have the engine's network as it is now: {text}")
        elif letter == b"b":
            self._log("info", "the connection for the container's network broke, and is waited for")
            self._wait("the node hasn't connected again")
        elif letter == b"e":
            self._ended = _MOST_AT_ONCE
            self._why = text

    def _has_ended(self) -> None:
        self._loop.let_be(self._control)
        self._channel.close()
        self._control = -1
        self._ended += 1
        if not self._is_open:
            return
        if self._ended >= _MOST_AT_ONCE:
            self._give_up(self._why)
            return
        self._log("info", "scrun-network was killed: another one takes over")
        self._wait("the node hasn't connected again")
        try:
            self._run()
        except OSError as error:
            self._give_up(f"scrun-network can't be started again: {error.strerror}")

    def _wait(self, why: str) -> None:
        self._loop.forget(self._timer)
        self._timer = self._loop.after(self._patience, lambda: self._give_up(why))

    def _give_up(self, why: str) -> None:
        if self._is_open:
            self.close()
            self._lost(why)


def _rights(descriptor: int) -> tuple[int, int, bytes]:
    return _socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptor.to_bytes(4, sys.byteorder)
