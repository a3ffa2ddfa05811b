"""The connection of a container to its nodes: a port for their agents, and what the bundle says about it."""

from __future__ import annotations

import os

from scrun import wait
from scrun.lifecycle.connection.agent import Agent, Watcher
from scrun.lifecycle.connection.handshake import NAME
from scrun.lifecycle.connection.listener import Listener
from scrun.lifecycle.connection.processes import Follower

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Sequence
    from typing import Protocol, TypedDict

    from scrun.lifecycle.connection.agent import AgentState, Size
    from scrun.lifecycle.process.loop import Loop
    from scrun.wait import Kept

    class ConnectionState(TypedDict):
        """A :class:`Connection` with which nothing is under way; ``key`` and the agents' names are hex."""

        key: str
        listener: int
        words: list[str]
        size: Size | None
        descriptors: list[int]
        agents: list[tuple[str, AgentState]]

    Answers = list[tuple[Agent, int, str]]

    class NetworkEnd(Protocol):
        """This host's end of the container's network."""

        @property
        def is_there(self) -> bool:
            """Whether it takes a connection."""

        def take(self, connection: _socket.socket) -> None:
            """Use a connection that the node has opened for the network, in the place of an older one."""


VERSION = 1
MEETING = "scrun-agent-{}-"  # then the job's id and a random name
PATIENCE = 300.0  # seconds
_MOST_AGENTS = 1024  # beyond that tasks run, but nothing of them is reached


class Connection(Watcher):
    """Waits for the agents of a container's tasks, and speaks with them.

    Args:
        loop: the process's loop.
        watcher: is told what becomes of each agent.
        follower: is told what becomes of the container's own process, where it is one task's.
        stdio: how the container's input and output go (:mod:`.agent`).
        ports: the first and the last port to listen on (SrunPortRange); (0, 0) for any.
        patience: seconds that a broken connection is waited for, here and on the node.
        kept: what :meth:`keep` has returned; then nothing is read until :meth:`read_on`.
        network: the container's network, where that is the engine's.

    Raises:
        OSError: no port is free.
    """

    def __init__(
        self,
        loop: Loop,
        watcher: Watcher,
        follower: Follower,
        *,
        stdio: str,
        ports: tuple[int, int] = (0, 0),
        patience: float = PATIENCE,
        network: NetworkEnd | None = None,
        kept: ConnectionState | None = None,
    ) -> None:
        self._loop, self._watcher, self._follower = loop, watcher, follower
        self._stdio, self._patience = stdio, patience
        self._key = bytes.fromhex(kept["key"]) if kept else os.urandom(32)
        self._meeting = os.urandom(NAME).hex()
        self._agents: dict[bytes, Agent] = {}
        self._size: Size | None = None  # of the terminal, once the container is to run
        self._words: Sequence[str] = ()
        self._descriptors: Sequence[int] = ()
        self._may_read: Callable[[], bool] | None = None
        self._waiting: Callable[[], None] | None = None
        listening = kept["listener"] if kept else -1
        self._network = network
        self._listener = Listener(
            *(loop, self._key, self._admit, self._connected),
            ports=ports,
            network=(self._admit_network, network.take) if network else None,
            kept=listening,
        )
        if kept:
            self._words, self._size, self._descriptors = kept["words"], kept["size"], kept["descriptors"]
            for name, state in kept["agents"]:
                self._agents[bytes.fromhex(name)] = self._agent(state)

    def keep(self, kept: Kept) -> ConnectionState:
        """What it is, for scrun-wait.

        Raises:
            Busy: something is under way.
        """
        wait.check(self._agents and not self._waiting and not self._may_read, "agents come or go")
        return {
            "key": self._key.hex(),
            "listener": self._listener.keep(kept),
            "words": [*self._words],
            "size": self._size,
            "descriptors": [*self._descriptors],
            "agents": [(name.hex(), agent.keep(kept)) for name, agent in self._agents.items()],
        }

    def read_on(self) -> None:
        """Read the container's input again, after scrun-wait."""
        for agent in self.agents:
            agent.read_on()

    @property
    def port(self) -> int:
        """The port that the nodes connect to."""
        return self._listener.port

    @property
    def agents(self) -> list[Agent]:
        """The agents that have connected and haven't gone, by node and task."""
        there = [agent for agent in self._agents.values() if agent.is_ready and not agent.is_over]
        return sorted(there, key=lambda agent: (agent.node, agent.task))

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes from any agent."""
        return all(agent.is_over for agent in self._agents.values())

    def meeting(self, job: int) -> str:
        """The name of a directory on the node, the job's id in it."""
        return MEETING.format(job) + self._meeting

    def settings(self, job: int, *, owned: bool = False) -> str:
        """Lines of the bundle's file ``connection``, which hold the key: for its owner only.

        What the worker that stages the files knows better follows there: addresses, the node's runtime, the init.

        Args:
            job: the job's id.
            owned: whether the job is the container's own: then the agent cancels it when it gives up.
        """
        lines = [
            ("version", str(VERSION)),
            ("key", self._key.hex()),
            ("meeting", self.meeting(job)),
            ("patience", f"{self._patience:.0f}"),
            ("stdio", self._stdio),
            *([("job", str(job))] if owned else []),
        ]
        return "".join(f"{name} {value}\n" for name, value in lines)

    def start(
        self,
        words: Sequence[str],
        stdio: Sequence[int] = (),
        size: Size = (0, 0),
        may_read: Callable[[], bool] | None = None,
    ) -> None:
        """Have the container's program run as soon as each node's init is there.

        Args:
            words: the program and its arguments.
            stdio: the descriptors of its input, output and error, which the caller may close when it is started;
                none where srun carries them.
            size: rows and columns of its terminal.
            may_read: asked before each read of the input.
        """
        self._words, self._size, self._descriptors, self._may_read = words, size, stdio, may_read
        for agent in self.agents:
            self._start(agent)

    def resize(self, size: Size) -> None:
        """Tell the container's terminal its size, in rows and columns."""
        if self._size is not None:
            self._size = size
            for agent in self.agents:
                agent.resize(size)

    def agent(self, node: str = "", task: int | None = None) -> Agent | None:
        """The first agent on that node (any), or of the task of that number there; None when there is none."""
        for agent in self.agents:
            if node in ("", agent.node) and task in (None, agent.task):
                return agent
        return None

    def signal(self, number: int, done: Callable[[Answers], None], *, everyone: bool = False) -> None:
        """Send a signal to the container's process on each node, or to all its processes."""
        self._ask_all(lambda agent, answer: agent.signal(number, answer, everyone=everyone), done)

    def stop(self, done: Callable[[Answers], None]) -> None:
        """Stop all processes of the container."""
        self._ask_all(lambda agent, answer: agent.stop(answer), done)

    def go_on(self, done: Callable[[Answers], None]) -> None:
        """Have all processes of the container go on."""
        self._ask_all(lambda agent, answer: agent.go_on(answer), done)

    def when_drained(self, done: Callable[[], None]) -> None:
        """The step has ended: call ``done`` once, when all that has come from the container is written.

        An agent that is connected is heard to its end; one that isn't doesn't come back.
        """
        self._waiting = done
        for agent in [*self._agents.values()]:
            agent.expect_nothing()
        self._look_whether_drained()

    def close(self) -> None:
        """Close everything; nobody is told anything more."""
        self._waiting = None
        self._listener.close()
        for agent in self._agents.values():
            agent.close()

    # --- agents that come

    def _admit(self, name: bytes, received: int) -> int | None:
        """See :class:`.handshake.Handshake`. How many tasks there will be isn't known: srun works that out."""
        agent = self._agents.get(name)
        if agent is None:
            return 0 if received == 0 and len(self._agents) < _MOST_AGENTS and self._waiting is None else None
        return agent.link.admit(received)

    def _admit_network(self, name: bytes) -> bool:
        return name in self._agents and self._network is not None and self._network.is_there

    def _connected(self, name: bytes, connection: _socket.socket) -> None:
        agent = self._agents.get(name)
        if agent:
            agent.link.resume(connection)
            agent.resumed()
            return
        agent = self._agents[name] = self._agent()
        agent.link.resume(connection)

    def _agent(self, kept: AgentState | None = None) -> Agent:
        return Agent(
            self._loop,
            stdio=self._stdio,
            patience=self._patience,
            watcher=self,
            follower=self._follower,
            kept=kept,
        )

    def _start(self, agent: Agent) -> None:
        if self._size is not None:
            agent.start(self._words, self._size)
            if self._descriptors:
                agent.attach(self._descriptors, self._may_read)
                self._descriptors = [-1, *self._descriptors[1:]]  # the first task alone has the input

    def _ask_all(
        self, ask: Callable[[Agent, Callable[[int, str], None]], None], done: Callable[[Answers], None]
    ) -> None:
        agents = self.agents
        answers: Answers = []

        def gather(agent: Agent, errno: int, text: str) -> None:
            answers.append((agent, errno, text))
            if len(answers) == len(agents):
                done(answers)

        if not agents:
            done([])
        for agent in agents:
            ask(agent, lambda errno, text, agent=agent: gather(agent, errno, text))  # type: ignore[misc]  # mypy#12557

    # --- what becomes of them

    def ready(self, agent: Agent) -> None:
        """Have the container's program run there, if it is time."""
        self._watcher.ready(agent)
        self._start(agent)

    def broken(self, agent: Agent, why: str) -> None:
        """Wait for the agent, unless its step has ended."""
        self._watcher.broken(agent, why)
        if self._waiting:
            agent.expect_nothing()

    def resumed(self, agent: Agent) -> None:
        """Pass it on."""
        self._watcher.resumed(agent)

    def done(self, agent: Agent) -> None:
        """Pass it on; it may have been the last one that was waited for."""
        self._watcher.done(agent)
        self._look_whether_drained()

    def lost(self, agent: Agent, why: str) -> None:
        """Pass it on; it may have been the last one that was waited for."""
        self._watcher.lost(agent, why)
        self._look_whether_drained()

    def drained(self, agent: Agent) -> None:
        """Everything that the container wrote there is written."""
        self._watcher.drained(agent)
        self._look_whether_drained()

    def note(self, agent: Agent, text: str) -> None:
        """Pass it on."""
        self._watcher.note(agent, text)

    def _look_whether_drained(self) -> None:
        if self._waiting and all(agent.is_over and agent.container.is_over for agent in self._agents.values()):
            waiting, self._waiting = self._waiting, None
            waiting()
