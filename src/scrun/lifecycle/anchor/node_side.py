"""The container on its nodes, as the anchor has it: by the connection that the agents there open (docs/protocol.md)."""

from __future__ import annotations

import os

from scrun import signal, wait
from scrun.errors import NodeRuntimeError, ScrunError
from scrun.lifecycle.anchor.node_requests import NodeRequests
from scrun.lifecycle.connection import failures
from scrun.lifecycle.connection.agent import PIPES, TASK, TERMINAL, Watcher
from scrun.lifecycle.connection.connection import Connection
from scrun.lifecycle.connection.processes import Follower
from scrun.lifecycle.connection.window import Window
from scrun.lifecycle.container.plan import tasks as tasks_of
from scrun.lifecycle.container.staging_plan import ENGINES_NETWORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal, Protocol, TypedDict, overload

    from scrun.lifecycle.anchor.engine_network import EngineNetwork, EngineNetworkState
    from scrun.lifecycle.anchor.stdio import Stdio
    from scrun.lifecycle.connection.agent import Agent
    from scrun.lifecycle.connection.connection import ConnectionState
    from scrun.lifecycle.connection.processes import Failure
    from scrun.lifecycle.connection.window import WindowState
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.plan import Plan
    from scrun.lifecycle.container.record import Record
    from scrun.lifecycle.container.worker_messages import ConnectionSettings
    from scrun.lifecycle.process.loop import Loop
    from scrun.wait import Kept

    class NodeSideState(TypedDict):
        """A :class:`NodeSide` whose program runs; the sockets are descriptors."""

        connection: ConnectionState
        network: EngineNetworkState | None
        words: int
        requests: int
        window: WindowState | None
        has_failed: bool
        is_frozen: bool

    class Owner(Protocol):
        """What is used of the anchor here, whose view (:mod:`.view`) names this module."""

        loop: Loop
        container: Container
        record: Record
        plan: Plan
        stdio: Stdio
        forced: int | None

        def save(self) -> bool:
            """Write the record down, and say whether that was done."""

        @property
        def log(self) -> Callable[[str, str], None]:
            """Write a line to the container's log: its level, its text."""

        @property
        def say(self) -> Callable[[str], None]:
            """Say something on the container's standard error."""

        # Follow the table of life: what has happened, and what that is about.
        @overload
        def happen(self, event: Literal["program_started"]) -> None: ...

        @overload
        def happen(self, event: Literal["program_failed"], error: ScrunError, exit_status: int) -> None: ...

        @overload
        def happen(self, event: Literal["connection_lost", "network_lost"], why: str) -> None: ...


_MOST_SAID = 1 << 20  # bytes of what the step itself says that are looked at
_PATIENCE = 2.0  # seconds that a reader has to take the last output of a container that was killed


class NodeSide(Watcher):
    """One container's; made when its job has its nodes.

    Raises:
        OSError: no port is free.
    """

    def __init__(self, anchor: Owner, kept: NodeSideState | None = None) -> None:
        self._anchor = anchor
        plan, tasks = anchor.plan, tasks_of(anchor.plan, anchor.record)
        self.stdio = TASK if tasks > 1 or _is_for_srun(plan) else TERMINAL if plan["terminal"] else PIPES
        ports = (plan["ports"][0], plan["ports"][1])
        self._network = (
            _network(anchor, self._network_lost, kept["network"] if kept else None)
            if plan["staging"]["network"] == ENGINES_NETWORK
            else None
        )
        self.connection = Connection(
            *(anchor.loop, self, _Program(self)),
            stdio=self.stdio,
            ports=ports,
            patience=plan["node_patience"],
            network=self._network,
            kept=kept["connection"] if kept else None,
        )
        self.words = kept["words"] if kept else os.memfd_create("step")  # what the node's runtime and slurmstepd say
        self._last_words = b""  # these, once the descriptor is closed
        self._unanswered = 0  # tasks of which nothing has been heard
        self.is_frozen = False  # whether the node's runtime has frozen the container's cgroup
        self.is_silent = False  # whether SIGKILL got no answer: then nothing more is waited for once the step has ended
        self._noted = ""  # what an agent says of a hook that has failed
        self._requests: NodeRequests | None = None
        self._window: Window | None = None
        self._finish: Callable[[], None] | None = None  # once the step has ended
        self._is_step_there = self._is_started = self._has_failed = self._is_over = False
        if kept:
            self._is_started, self._has_failed, self.is_frozen = True, kept["has_failed"], kept["is_frozen"]
            self._requests = NodeRequests(anchor.loop, anchor.container, self.connection, kept["requests"])
            if kept["window"]:
                resized = self.connection.resize
                self._window = Window(anchor.loop, -1, resized, kept["window"])

    def keep(self, kept: Kept) -> NodeSideState:
        """What it is, for scrun-wait; read on when it is woken (:meth:`.Connection.read_on`).

        Raises:
            Busy: something is under way.
        """
        runs = self._is_started and not self._is_step_there and not self._unanswered
        wait.check(runs and not self._finish and not self._is_over, "the program begins or ends")
        return {
            "connection": self.connection.keep(kept),
            "network": self._network.keep(kept) if self._network else None,
            "words": kept(self.words),
            "requests": self._requests.keep(kept) if self._requests else -1,
            "window": self._window.keep(kept) if self._window else None,
            "has_failed": self._has_failed,
            "is_frozen": self.is_frozen,
        }

    @property
    def children(self) -> set[int]:
        """The processes that stay beside the step."""
        return ({self._window.child} if self._window else set()) | (self._network.children if self._network else set())

    @property
    def has_run(self) -> bool:
        """Whether the program has run, or is known not to be there."""
        return self._is_started or self._has_failed

    def settings(self) -> ConnectionSettings:
        """What the bundle says of the connection."""
        record = self._anchor.record
        if self._network:  # where guests will find it, unless the node says otherwise
            record["network_links"] = f"/tmp/{self.connection.meeting(record['job'])}"  # noqa: S108 (it is unforeseeable)
        settings = self.connection.settings(record["job"], owned=bool(record.get("job_owned")))
        return {"settings": settings, "port": self.connection.port, "why": ""}

    def renew(self, files: Mapping[str, bytes]) -> bool:
        """Have the node's copies of small files be like these, by path there; whether that will be done."""
        return self._network is not None and self._has_engines_network and self._network.renew(files)

    @property
    def _has_engines_network(self) -> bool:
        return self._anchor.record["network"] == ENGINES_NETWORK

    def begin(self) -> None:
        """The step is about to begin.

        Raises:
            OSError: the engine's network namespace is gone.
        """
        if self._network and self._has_engines_network:
            self._network.begin(self._anchor.record["pid"])
        self._requests = NodeRequests(self._anchor.loop, self._anchor.container, self.connection)

    def step_has_begun(self, tasks: int = 1) -> None:
        """What srun says: it is known how many tasks there are, and where. Have the program run when its init is there.

        Args:
            tasks: how many; what asks for some may only turn out to (``SCRUN_NTASKS_PER_GPU``).
        """
        anchor = self._anchor
        self._is_step_there, self._unanswered = True, tasks
        stdio, words = anchor.stdio.descriptors, anchor.record["command"]
        if self.stdio == TASK:
            self.connection.start(words)
        elif self.stdio == TERMINAL:
            self._window = Window(anchor.loop, stdio[0], self.connection.resize)
            self.connection.start(words, stdio, self._window.size)
        else:
            self.connection.start(words, stdio)

    def end(self, done: Callable[[], None]) -> None:
        """The step has ended: call ``done`` when everything that the container wrote has been read."""

        def finish() -> None:
            if not self._is_over:
                self._is_over = True
                self.close()
                done()

        self._finish = finish
        # An agent is done before its step can end, unless srun alone was killed: then the container would go on.
        is_orphan = not self.connection.is_over
        if is_orphan:
            self.connection.signal(signal.SIGKILL, lambda _answers: None, everyone=True)
        self.connection.when_drained(finish)
        if is_orphan or self._anchor.forced is not None:
            self.hasten()
        if self.is_silent:
            finish()

    def hasten(self) -> None:
        """The container was killed: whoever reads its last output has not for ever to do so."""
        if self._finish and not self._is_over:
            self._anchor.loop.after(_PATIENCE, self._finish)

    def close(self) -> None:
        """Let go of everything."""
        self._is_over = True
        if self._window:
            self._window.close()
            self._window = None
        if self._requests:
            self._requests.close()
            self._requests = None
        if self._network:
            self._network.close()
        self.connection.close()
        if self.words >= 0:
            self._last_words = self.said()
            os.close(self.words)
            self.words = -1

    def said(self) -> bytes:
        """What the node's runtime and slurmstepd have said on the step's standard error."""
        return self._last_words if self.words < 0 else os.pread(self.words, _MOST_SAID, 0)

    def why_not_run(self, step_said: str) -> ScrunError:
        """Why the step has ended without having run the program, by the runtime's words or srun's."""
        record = self._anchor.record
        why = failures.last_words(self._noted or self.said().decode("utf-8", "replace")) or step_said
        if record["init"] in why:  # which slurmstepd took for a program of the node
            why = "it has no oci.conf, and would have run the program on the node itself and not in a container"
        if "cannot connect to the login host" in why:
            why += ": nodes must reach this host's ports, those of SrunPortRange where slurm.conf has it (a firewall?)"
        if "/run/user/" in why and "directory" in why:
            why += ": Slurm makes no /run/user/UID on nodes: have a Prolog make a directory for each user (etc/prolog)"
        return NodeRuntimeError(f"the container's process was not run: {record['nodes']}: {why}")

    # --- what becomes of the program

    def program_started(self, pid: int) -> None:
        """It runs."""
        self._anchor.log("debug", f"the program runs, with pid {pid} on its node")
        self._is_started = True
        self._hear_of_one()
        self._tell_started()

    def _hear_of_one(self) -> None:
        """When each task has its input and output, the anchor keeps only a standard error, for its own words."""
        self._unanswered -= 1
        if not self._unanswered:
            self._anchor.stdio.replace([-1, -1, self._anchor.stdio.descriptors[2]])

    def _tell_started(self) -> None:
        if self._is_started and self._is_step_there:
            self._is_step_there = False  # once
            self._anchor.happen("program_started")

    def program_failed(self, failure: Failure) -> None:
        """It could not be run."""
        command = self._anchor.record["command"]
        error, exit_status = failures.explain(failure, command[0] if command else "")
        if self.stdio == TASK:  # the other tasks go on, and srun tells how all of them end
            if not self._has_failed:
                self._anchor.say(str(error))
            self._has_failed = self._is_started = True
            self._hear_of_one()
            self._tell_started()
        else:
            self._has_failed = True
            self._anchor.happen("program_failed", error, exit_status)

    # --- what becomes of the agents

    def ready(self, agent: Agent) -> None:
        """It is there."""
        self._anchor.log("debug", f"the agent of task {agent.task} on {agent.node} is there")

    def broken(self, agent: Agent, why: str) -> None:
        """Wait for it."""
        self._anchor.log("info", f"the connection to {agent.node} broke, and is waited for: {why}")

    def resumed(self, agent: Agent) -> None:
        """It is back."""
        self._anchor.log("info" if agent.is_ready else "debug", f"the connection to {agent.node or 'a node'} is there")

    def lost(self, agent: Agent, why: str) -> None:
        """It is gone, and so is the container, or it will be."""
        if not self._is_over:
            node = agent.node or "the node"
            why = f"the connection to {node} is lost: {why}: the container ends; slurmd's log on {node} may tell more"
            self._anchor.happen("connection_lost", why)

    def _network_lost(self, why: str) -> None:
        """The container's network is gone, and so is the container."""
        if not self._is_over:
            self._anchor.happen("network_lost", f"the container's network is lost: {why}")

    def note(self, agent: Agent, text: str) -> None:
        """A line for the log, and perhaps why the program isn't run."""
        self._anchor.log("debug", f"{agent.node}: {text}")
        if text.startswith(failures.OURS):
            self._noted = text


def _network(anchor: Owner, lost: Callable[[str], None], kept: EngineNetworkState | None) -> EngineNetwork:
    from scrun.lifecycle.anchor.engine_network import EngineNetwork  # not in the memory of the other anchors

    plan = anchor.plan

    def ready(links: str) -> None:
        if anchor.record.get("network_links") != links:
            anchor.record["network_links"] = links
            anchor.save()

    return EngineNetwork(
        *(anchor.loop, plan["engine_network"]),
        patience=plan["node_patience"],
        log=anchor.log,
        ready=ready,
        lost=lost,
        kept=kept,
    )


def _is_for_srun(plan: Plan) -> bool:
    """Whether the user wants of the input and output what only srun does: a label on each line, a file that is cut."""
    step = plan["step_environment"]
    return not plan["terminal"] and ("SLURM_LABELIO" in step or step.get("SLURM_OPEN_MODE", "a")[:1] == "t")


class _Program(Follower):
    """The container's own process, or each task's."""

    def __init__(self, side: NodeSide) -> None:
        self._side = side

    def started(self, pid: int) -> None:
        """It runs."""
        self._side.program_started(pid)

    def failed(self, failure: Failure) -> None:
        """It could not be run."""
        self._side.program_failed(failure)
