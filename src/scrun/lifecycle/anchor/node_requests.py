"""The anchor's second socket: exec, and commands beside the container on its nodes (ps, events).

What is asked for goes on over the connection to the nodes (:mod:`scrun.lifecycle.connection`). A request comes with
descriptors (SCM_RIGHTS, unix(7)): of an exec its standard input, output and error, and always a file in memory with the
rest of the request, which may be large. The other side is :mod:`scrun.lifecycle.container.node_client`.
"""

from __future__ import annotations

import _socket
import os
import select
import sys

from scrun import fastjson, wait
from scrun.errors import NodeRuntimeError, ScrunError, UsageError
from scrun.lifecycle.connection import failures
from scrun.lifecycle.connection.processes import Follower
from scrun.lifecycle.connection.window import Window
from scrun.lifecycle.container import messages, status
from scrun.lifecycle.container.directory import NODE_SOCKET
from scrun.lifecycle.process import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.connection.agent import Agent
    from scrun.lifecycle.connection.connection import Connection
    from scrun.lifecycle.connection.processes import Failure, Process
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.messages import NodeAnswer, NodeRequest
    from scrun.lifecycle.process.loop import Loop
    from scrun.wait import Kept

_PID_UID_GID = 12  # bytes of a struct ucred (unix(7)), three int
_INT = 4
_MOST_DESCRIPTORS = 4
_LARGEST = 1 << 16  # bytes of a request's line
_LARGEST_FILE = 16 << 20  # bytes of its file
_MOST = 512  # callers: an agent follows 255 processes


class NodeRequests:
    """The socket, from the container's start to its end."""

    def __init__(self, loop: Loop, container: Container, connection: Connection, kept: int = -1) -> None:
        self._loop, self._connection = loop, connection
        self._callers: dict[_Caller, None] = {}
        if kept >= 0:
            self._listening = _socket.socket(fileno=kept)
        else:
            self._listening = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
            self._listening.bind(container.child(NODE_SOCKET))
            self._listening.listen(128)
        loop.watch(self._listening.fileno(), self._connected)

    def _connected(self) -> None:
        try:
            descriptor, _address = self._listening._accept()  # type: ignore[attr-defined]  # as socket.accept calls it
        except OSError:
            return  # the caller has gone already, or this process has no descriptor left: then it waits for one
        caller = _socket.socket(fileno=descriptor)
        credentials = caller.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _PID_UID_GID)
        if int.from_bytes(credentials[4:8], sys.byteorder) not in (0, os.getuid()):
            caller.close()
        elif len(self._callers) >= _MOST:
            wire.send(caller.fileno(), wire.failure(ScrunError(f"{_MOST} callers at once: try again")))
            caller.close()
        else:
            self._callers[_Caller(self._loop, self._connection, caller, self._forget)] = None

    def close(self) -> None:
        """Take no more requests."""
        self._loop.unwatch(self._listening.fileno())
        self._listening.detach()
        for caller in [*self._callers]:
            caller.lost()

    def keep(self, kept: Kept) -> int:
        """The socket's descriptor, for scrun-wait.

        Raises:
            Busy: somebody is connected.
        """
        wait.check(not self._callers, "a process of exec runs")
        return kept(self._listening.fileno())

    def _forget(self, caller: _Caller) -> None:
        self._callers.pop(caller, None)


class _Caller(Follower):
    """One caller, until it has its answer or goes away; of an exec, until the process has ended."""

    def __init__(
        self, loop: Loop, connection: Connection, caller: _socket.socket, closed: Callable[[_Caller], None]
    ) -> None:
        self._loop, self._connection, self._caller, self._closed = loop, connection, caller, closed
        self._reader: wire.Reader | None = None  # of what comes after the request
        self._agent: Agent | None = None
        self._process: Process | None = None
        self._window: Window | None = None
        self._program = ""
        self._status = status.KILLED
        self._unsaid = b""  # what the caller had no room for
        self._is_open, self._is_answered = True, False
        loop.watch(caller.fileno(), self._readable)

    def _readable(self) -> None:
        if self._unsaid:
            self._say()
            return
        if self._reader:
            self._hear(self._reader)
            return
        descriptors: list[int] = []
        try:
            line, ancillary, flags, _address = self._caller.recvmsg(
                _LARGEST, _socket.CMSG_SPACE(_MOST_DESCRIPTORS * _INT), _socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            line, ancillary, flags = b"", [], 0
        for level, kind, data in ancillary:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                whole = len(data) - len(data) % _INT
                descriptors += [int.from_bytes(data[at : at + _INT], sys.byteorder) for at in range(0, whole, _INT)]
        try:
            if not line:
                self._close()
            else:
                self._reader = wire.Reader(self._caller.fileno(), _LARGEST)
                if flags & _socket.MSG_CTRUNC:
                    raise ValueError("it has more descriptors than it needs")
                self._serve(messages.node_request(fastjson.loads(line.decode("ascii"))), descriptors)
        except (ValueError, RecursionError, OSError) as error:
            self._answer(wire.failure(UsageError(f"the anchor can't read that request: {error}")))
            self._close()
        except ScrunError as error:
            self._answer(wire.failure(error))
            self._close()
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _serve(self, request: NodeRequest, descriptors: list[int]) -> None:
        if len(descriptors) != (_MOST_DESCRIPTORS if request["do"] == "exec" else 1):
            raise ValueError("it has not the descriptors that it needs")
        data = os.pread(descriptors[-1], _LARGEST_FILE + 1, 0)
        if len(data) > _LARGEST_FILE:
            raise UsageError(f"the request has more than {_LARGEST_FILE} bytes: give it less")
        if request["do"] == "run":
            _Errand(self._connection, data.split(b"\0"), request["node"], self._deliver)
            return
        agent = self._agent = self._connection.agent(request["node"])
        if agent is None:
            raise NodeRuntimeError(f"nothing of the container runs on {request['node'] or 'its node'}")
        self._program = request["program"]
        size = (request["size"][0], request["size"][1])
        stdio = descriptors[:3]
        if request["own_terminal"]:
            self._window = Window(self._loop, stdio[0], self._resize)
            size = self._window.size
        self._process = agent.exec(data, stdio, self, terminal=request["terminal"], size=size)

    def _deliver(self, answers: dict[str, list[object]]) -> None:
        self._answer({"answers": answers})
        self._close()

    def _resize(self, size: tuple[int, int]) -> None:
        if self._agent and self._process:
            self._agent.resize(size, self._process.number)

    def _hear(self, reader: wire.Reader) -> None:
        """What comes from the stand-in of an exec: signals, its window's size, and its own end."""
        try:
            said = reader.read(messages.from_exec_standin)
        except (ValueError, RecursionError):
            said = None
        if said is None:
            self._signal(9)  # nobody waits for the process any more
            self._close()
            return
        for message in said:
            if message["do"] == "kill":
                self._signal(message["signal"])
            else:
                self._resize((message["rows"], message["columns"]))

    def _signal(self, number: int) -> None:
        if self._agent and self._process and not self._process.has_ended:
            self._agent.signal(number, lambda _errno, _text: None, process=self._process.number)

    def _answer(self, message: NodeAnswer) -> None:
        if self._is_open:
            self._unsaid += fastjson.dumps(message).encode("ascii") + b"\n"
            self._say()

    def _say(self) -> None:
        """Write what there is room for: a caller that was stopped must not stop the container too."""
        try:
            self._unsaid = self._unsaid[self._caller.send(self._unsaid, _socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            pass
        except OSError:  # the caller has gone
            self._unsaid = b""
        if self._unsaid:
            self._loop.watch(self._caller.fileno(), self._readable, events=select.POLLOUT)
        elif self._is_answered:
            self._close()
        else:
            self._loop.watch(self._caller.fileno(), self._readable)

    def _close(self) -> None:
        """Hang up, when the caller has its answer."""
        if self._is_open and self._unsaid:
            self._is_answered = True
        elif self._is_open:
            self._is_open = False
            self._loop.unwatch(self._caller.fileno())
            self._caller.detach()
            if self._window:
                self._window.close()
            self._closed(self)

    # --- what becomes of the process

    def started(self, pid: int) -> None:
        """Tell the caller."""
        del pid  # the node's, which is of no use here
        if not self._is_open:
            self._signal(9)  # nobody waits for the process any more
        self._answer({"started": True})

    def failed(self, failure: Failure) -> None:
        """Tell the caller why."""
        error, _exit_status = failures.explain(failure, self._program)
        self._answer(wire.failure(error))
        self._close()

    def exited(self, exit_status: int | None) -> None:
        """Remember how; what it wrote before is still to be written."""
        self._status = status.KILLED if exit_status is None else exit_status

    def delivered(self) -> None:
        """Tell the caller how it ended."""
        self._answer({"do": "exit", "status": self._status})
        self._close()

    def lost(self) -> None:
        """Its node is gone, or the container."""
        if self._process:
            self._answer({"do": "exit", "status": status.KILLED})
        else:
            self._answer(wire.failure(NodeRuntimeError("the container has ended meanwhile")))
        self._close()


class _Errand:
    """One command, on each node of the container or on one: ``words`` with ``@MEMBERS`` for the container's pids there.

    ``done`` gets, by the node's name, the exit status and what the command printed.
    """

    def __init__(
        self, connection: Connection, words: list[bytes], node: str, done: Callable[[dict[str, list[object]]], None]
    ) -> None:
        self._words = [word.decode("utf-8", "surrogateescape") for word in words]
        self._done = done
        agents = [agent for agent in connection.agents if node in ("", agent.node)]
        if not agents:
            raise NodeRuntimeError(f"nothing of the container runs on {node or 'its nodes'}")
        self._agents: dict[str, Agent] = {}
        for agent in agents:
            self._agents.setdefault(agent.node, agent)
        self._members: dict[str, set[str]] = {name: set() for name in self._agents}
        self._answers: dict[str, list[object]] = {}
        self._asked = len(agents)
        if messages.MEMBERS in self._words:
            for agent in agents:
                agent.run(["@members"], lambda code, text, agent=agent: self._found(agent, code, text))  # type: ignore[misc]
        else:
            self._run()

    def _found(self, agent: Agent, code: int, text: str) -> None:
        if code:
            self._answers[agent.node] = [code, text]
            text = ""
        self._members[agent.node].update(text.split())
        self._asked -= 1
        if not self._asked:
            self._run()

    def _run(self) -> None:
        if len(self._answers) == len(self._agents):
            self._finish()
        for name, agent in self._agents.items():
            if name in self._answers:
                continue
            pids = " ".join(sorted(self._members[name], key=int))
            words = [pids if word == messages.MEMBERS else word for word in self._words]
            try:
                agent.run(words, lambda code, text, name=name: self._ran(name, code, text))  # type: ignore[misc]
            except ScrunError as error:
                self._ran(name, 255, str(error))

    def _ran(self, name: str, code: int, text: str) -> None:
        self._answers[name] = [code, text]
        if len(self._answers) == len(self._agents):
            self._finish()

    def _finish(self) -> None:
        self._done({name: self._answers[name] for name in sorted(self._answers)})
