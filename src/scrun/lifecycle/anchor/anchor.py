"""The anchor: the process that stays with a container from create to its end.

What may happen to a container, and what follows, is the table in :mod:`scrun.lifecycle.anchor.life`. Here each event
comes in: from create, the stand-in, the callers of the socket, the workers and srun. :mod:`effects` does what the table
says. The anchor lives as long as a container may, so it imports little (a test holds the list) and waits in poll(2).
"""

from __future__ import annotations

from scrun import signal, wait
from scrun.errors import ScrunError, UsageError
from scrun.lifecycle.anchor import launch, life, removal, server, signals
from scrun.lifecycle.anchor.create_limit import CreateLimit
from scrun.lifecycle.anchor.creator import Creator
from scrun.lifecycle.anchor.effects import Effects
from scrun.lifecycle.anchor.node_side import NodeSide
from scrun.lifecycle.anchor.notices import Notices
from scrun.lifecycle.anchor.preparation import Preparation
from scrun.lifecycle.anchor.standin_link import StandinLink
from scrun.lifecycle.anchor.stdio import Stdio
from scrun.lifecycle.container import status
from scrun.lifecycle.process import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    from scrun.lifecycle.anchor.node_side import NodeSideState
    from scrun.lifecycle.anchor.worker import Worker
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.messages import Reply, ToCreator
    from scrun.lifecycle.container.plan import Plan
    from scrun.lifecycle.container.record import Record
    from scrun.lifecycle.container.worker_messages import ConnectionSettings
    from scrun.lifecycle.node.step import Step, StepState
    from scrun.lifecycle.process.loop import Loop
    from scrun.wait import Kept

    class AnchorState(TypedDict):
        """An :class:`Anchor` with nothing under way; the pid file, the stand-in and the requests are descriptors."""

        state: str
        plan: Plan
        record: Record
        pid_file: int
        stdio: list[int]
        log_levels: tuple[str, str]
        requests: int
        standin: int
        step: StepState
        nodes: NodeSideState | None
        events: dict[int, int]  # of poll(2), by descriptor


class Anchor:
    """One container's life; everything in it happens in the one loop.

    ``state`` is the container's state in the table. The other attributes are data: ``plan``; ``forced``, the exit
    status if something else than the program decided it; ``stager``, the worker that has staged the files and may still
    be there; ``step``, None until there is one; ``nodes``, the connection to them, None where there can be none.
    """

    def __init__(
        self,
        loop: Loop,
        container: Container,
        creator: int,
        standin: int,
        standin_pid: int,
        preparing: Worker | None = None,
        kept: AnchorState | None = None,
    ) -> None:
        self.loop, self.container, self.record = loop, container, container.record
        if not kept:
            self.record.update({"pid": standin_pid, "pid_started": processes.start_time(standin_pid)})
        self.state = kept["state"] if kept else life.NEW
        self.plan: Plan = kept["plan"] if kept else {}  # type: ignore[typeddict-item]  # until create has sent it
        self.forced: int | None = None
        self.stager: Worker | None = None
        self.step: Step | None = None
        self.nodes: NodeSide | None = None
        self._events: list[tuple[str, tuple[object, ...]]] = []  # the event that is followed, and those that came of it
        self._unsaved = False  # said already
        self.stdio = Stdio(container)
        self.log, self.say = self.stdio.log, self.stdio.say
        self.notices = Notices(container, self.say)
        self.create_limit = CreateLimit(loop, lambda: self.happen("create_overdue"))
        self._effects = Effects(self)
        self.requests = server.serve(loop, container, self, creator, kept["requests"] if kept else -1)
        self.creator = Creator(
            loop,
            creator,
            create=lambda plan: self.happen("plan", plan),
            abort=lambda why: self.happen("creator_gone", why),
            left=lambda: self.log("debug", "the container goes on without who created it"),
        )
        self.standin = StandinLink(
            loop,
            standin,
            ready=lambda pid: self.happen("standin_ready", pid),
            failed=lambda error: self.happen("hopeless", error),
            kill=lambda number: self.kill(number, lambda _answer: None),
            gone=lambda: self.happen("standin_gone"),
        )
        self.preparation = Preparation(
            loop,
            container,
            save=self.save,
            tell=self._tell,
            connect=self._connect,
            ready=self._prepared,
            failed=lambda error: self.happen("not_prepared", error),
            worker=preparing,
            is_done=bool(kept),
        )
        if kept:
            self._take_over(kept)

    def _take_over(self, kept: AnchorState) -> None:
        self.stdio.descriptors, self.stdio.levels = kept["stdio"], kept["log_levels"]
        self._effects.pid_file = kept["pid_file"]
        if kept["nodes"]:
            self.nodes = NodeSide(self, kept["nodes"])
        self.step = self._effects.make_step(kept["step"])
        removal.watch(self)

    def keep(self, kept: Kept) -> AnchorState:
        """What it is, for scrun-wait: everything is at rest.

        Raises:
            Busy: it isn't.
        """
        wait.check(self.state in (life.RUNNING, life.PAUSED) and self._effects.is_at_rest, "its life goes on")
        wait.check(not self.creator.is_there and self.forced is None, "somebody stays with it")
        assert self.step
        children = {self.step.pid} | (self.nodes.children if self.nodes else set())
        state: AnchorState = {
            "state": self.state,
            "plan": self.plan,
            "record": self.record,
            "pid_file": kept(self._effects.pid_file),  # its lock is the process's until it is closed (fcntl(2))
            "stdio": self.stdio.keep(kept),
            "log_levels": self.stdio.levels,
            "requests": self.requests.keep(kept),
            "standin": self.standin.keep(kept),
            "step": self.step.keep(kept),
            "nodes": self.nodes.keep(kept) if self.nodes else None,
            "events": self.loop.at_rest(children),
        }
        wait.check(kept.descriptors >= state["events"].keys(), "something else is waited for")
        return state

    def happen(self, event: str, *about: object) -> None:
        """Enter the state that follows the event, and carry the effects out, each with what the event is about.

        What an effect brings about at once comes after all effects of this event.
        """
        self._events.append((event, about))
        if len(self._events) > 1:
            return
        try:
            while self._events:
                self._follow(*self._events[0])
                del self._events[0]
        finally:
            self._events.clear()

    def _follow(self, event: str, about: tuple[object, ...]) -> None:
        try:
            self.state, effects = life.follow(self.state, event)
        except life.Illegal as error:
            self.log("error", str(error))
            return
        for effect in effects:
            getattr(self._effects, effect)(*about)

    # --- what callers of the socket ask for

    def start(self, answer: Reply) -> None:
        """Run the container's process; the answer comes when it runs or has failed to, at once while the job waits."""
        self.happen("start", answer)

    def kill(self, number: int, answer: Reply) -> None:
        """Send a signal to the container's process."""
        if number == signal.SIGKILL:
            self.happen("sigkill", number, answer)
        else:
            self.happen("harmless_signal" if number in signals.HARMLESS else "signal", number, answer)

    def pause(self, answer: Reply) -> None:
        """Have all processes of the container stop."""
        self.happen("pause", answer)

    def resume(self, answer: Reply) -> None:
        """Have them go on."""
        self.happen("resume", answer)

    def delete(self, answer: Reply) -> None:
        """End the container; answer when its job is given back, or that can't be done now.

        Where the stand-in has ended before the files are back, that takes :data:`owed.DELETE` seconds at most.
        """
        self.happen("delete", answer)

    def waits_for(self) -> str:
        """What keeps it from its end, for a person who waits for that."""
        return self._effects.waits_for()

    # --- what the preparation tells

    def _tell(self, message: ToCreator) -> None:
        """What the workers have to say: to the log, and to create's caller while there is one."""
        self.notices.hear(message)
        self.create_limit.hear(message)
        self.stdio.note(message)
        self.creator.tell(message)

    def _connect(self) -> ConnectionSettings:
        """The job has its nodes: wait for their connections."""
        try:
            self.nodes = NodeSide(self)
        except OSError as error:
            return {"settings": "", "port": 0, "why": f"no port of this host is free for it: {error.strerror}"}
        return self.nodes.settings()

    def _prepared(self) -> None:
        """The job has its nodes, and the files are staged."""
        self.stager = self.preparation.stager
        if self.nodes and self.record["unconnected"]:
            self.nodes.close()
            self.nodes = None
            self.log("info", f"signals, exec, ps and pause don't reach the container: {self.record['unconnected']}")
        try:
            launch.check(self.plan, self.record)
        except UsageError as error:
            self.happen("unfit", error)
        else:
            self.happen("prepared")

    # --- the record

    @property
    def status(self) -> str:
        """The OCI status."""
        return self.record.get("status", status.CREATING)

    def set_status(self, new: str) -> None:
        """Enter a status, and write it down."""
        self.record["status"] = new
        self.save()

    def save(self) -> bool:
        """Write the record down, and say whether that was done.

        A container that can't be written down isn't created: nobody could find its job. Later a full disk must not
        change what becomes of it; that is said once.
        """
        try:
            self.container.save()
        except OSError as error:
            why = f"can't write {self.container.path}: {error.strerror}"
            if self.state in life.CREATING:
                self.happen("hopeless", ScrunError(why))
            elif not self._unsaved:
                self._unsaved = True
                self.say(why)
            return False
        return True
