"""One agent: what it is asked, and what it says of the container's processes on its node."""

from __future__ import annotations

from scrun import wait
from scrun.errors import NodeRuntimeError, ScrunError, UsageError
from scrun.lifecycle.connection import frames
from scrun.lifecycle.connection.frames import ERROR, OUTPUT, ProtocolError
from scrun.lifecycle.connection.link import Link
from scrun.lifecycle.connection.processes import Command, Follower, Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypedDict

    from scrun.lifecycle.connection.link import LinkState
    from scrun.lifecycle.connection.processes import ProcessState
    from scrun.lifecycle.process.loop import Loop
    from scrun.wait import Kept

    class AgentState(TypedDict):
        """An :class:`Agent` with which nothing is under way."""

        link: LinkState
        container: ProcessState
        node: str
        task: int
        last_request: int
        last_number: int

    Answer = Callable[[int, str], None]
    Size = tuple[int, int]

PIPES, TERMINAL, TASK = "pipes", "terminal", "task"
"""How the container's own input and output go: through pipes, by a terminal, or as srun's task has them."""
GONE = 32  # EPIPE: the answer to what an agent that has gone was asked
_SIGKILL = 9
_STREAMS: dict[str, tuple[int, ...]] = {PIPES: (OUTPUT, ERROR), TERMINAL: (OUTPUT,), TASK: ()}


class Watcher:
    """What becomes of an agent."""

    def ready(self, agent: Agent) -> None:
        """The container's init on its node waits for the start."""

    def broken(self, agent: Agent, why: str) -> None:
        """The connection broke; the agent is waited for."""

    def resumed(self, agent: Agent) -> None:
        """The connection is there again."""

    def done(self, agent: Agent) -> None:
        """The container's process has ended and everything has come: the agent ends, and so does its step."""

    def lost(self, agent: Agent, why: str) -> None:
        """The agent has gone before that, or was waited for in vain: the step is to be ended."""

    def drained(self, agent: Agent) -> None:
        """The container's own process there has ended, and all its output is written, or nobody reads it."""

    def note(self, agent: Agent, text: str) -> None:
        """A line for the log."""


class Agent:
    """An agent.

    Args:
        loop: the process's loop.
        stdio: :data:`PIPES`, :data:`TERMINAL` or :data:`TASK`.
        patience: seconds that a broken connection is waited for.
        watcher: is told what becomes of the agent.
        follower: is told what becomes of the container's own process there.
        kept: what :meth:`keep` has returned.
    """

    def __init__(
        self,
        loop: Loop,
        *,
        stdio: str,
        patience: float,
        watcher: Watcher,
        follower: Follower,
        kept: AgentState | None = None,
    ) -> None:
        self._loop, self._patience, self._watcher = loop, patience, watcher
        self.node, self.task = "", -1  # known from READY on; the task's number is that on its node
        self.is_ready = self.is_done = False
        self.link = Link(
            loop,
            take=self._take,
            eased=self._eased,
            broke=self._broke,
            died=self._died,
            kept=kept["link"] if kept else None,
        )
        self._timer = 0
        self._requests: dict[int, Answer] = {}
        self._last_request, self._last_number = 0, 0
        self._processes: dict[int, Process | Command] = {}
        self.container = self._process(0, _STREAMS[stdio], follower, kept["container"] if kept else None)
        if kept:
            self.node, self.task, self.is_ready = kept["node"], kept["task"], True
            self._last_request, self._last_number = kept["last_request"], kept["last_number"]

    def keep(self, kept: Kept) -> AgentState:
        """What it is, for scrun-wait.

        Raises:
            Busy: it isn't there, or something is under way with it.
        """
        wait.check(self.is_ready and not self.is_over and not self._timer, "an agent comes or goes")
        wait.check(not self._requests and len(self._processes) == 1, "an agent is asked for something")
        return {
            "link": self.link.keep(kept),
            "container": self.container.keep(kept),
            "node": self.node,
            "task": self.task,
            "last_request": self._last_request,
            "last_number": self._last_number,
        }

    def read_on(self) -> None:
        """Read the container's input again, after scrun-wait."""
        self._eased()

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes from the agent."""
        return self.is_done or self.link.is_over

    # --- what it is asked

    def start(self, words: Sequence[str], size: Size = (0, 0)) -> None:
        """Run the container's program with these words; its terminal, if it has one, has that many rows and columns."""
        for part in frames.parts(0, _in_words(words)):
            self.link.send(part)
        self.link.send(frames.frame(frames.START, 0, frames.size(*size)))

    def exec(
        self,
        process: bytes,
        stdio: Sequence[int],
        follower: Follower,
        *,
        terminal: bool = False,
        size: Size = (0, 0),
        may_read: Callable[[], bool] | None = None,
    ) -> Process:
        """Run a process object (runtime-spec, JSON) in the container; the descriptors may be closed then.

        Raises:
            ScrunError: the agent has gone, follows as many processes as it can, or takes no such large object; or the
                descriptors can't be used.
        """
        number, request = self._free_number(), _checked(process)
        made = self._process(number, _STREAMS[TERMINAL if terminal else PIPES], follower)
        self._request(number, request, frames.EXEC, bytes([terminal]) + frames.size(*size))
        try:
            made.attach(stdio, may_read)
        except OSError as error:
            made.close()
            self.signal(_SIGKILL, lambda _errno, _text: None, process=number)
            raise ScrunError(f"exec failed: its input and output can't be used: {error.strerror}") from error
        return made

    def attach(self, stdio: Sequence[int], may_read: Callable[[], bool] | None = None) -> None:
        """Use these descriptors for the container's own input and output; without them there is no container."""
        try:
            self.container.attach(stdio, may_read)
        except OSError as error:
            self._give_up(f"the container's input and output can't be used: {error.strerror}")

    def run(self, words: Sequence[str], done: Callable[[int, str], None]) -> None:
        """Run a command on the node, beside the container; ``done`` gets its exit status and what it printed.

        Raises:
            ScrunError: as for :meth:`exec`.
        """
        number = self._free_number()
        request = _checked(_in_words(words))
        free = lambda: self._free(number)  # noqa: E731
        self._processes[number] = Command(number, send=self.link.send, done=done, free=free)
        self._request(number, request, frames.RUN)

    def signal(self, number: int, answer: Answer, *, process: int = 0, everyone: bool = False) -> None:
        """Send a signal to a process, or to all of the container; ``answer`` gets an errno, 0 when it was sent."""
        what = frames.number(number) + bytes([everyone])
        self._ask(frames.SIGNAL, process, what, answer)

    def stop(self, answer: Answer) -> None:
        """Stop every process of the container (SIGSTOP)."""
        self._ask(frames.STOP, 0, b"", answer)

    def go_on(self, answer: Answer) -> None:
        """Have the stopped processes go on."""
        self._ask(frames.CONTINUE, 0, b"", answer)

    def resize(self, size: Size, process: int = 0) -> None:
        """Tell a process's terminal its size, in rows and columns."""
        self.link.send(frames.frame(frames.RESIZE, process * 4, frames.size(*size)))

    def close(self) -> None:
        """End the connection, which ends the container unless it has ended; nobody is told anything more."""
        self._loop.forget(self._timer)
        self.link.close()
        for process in [*self._processes.values()]:
            if isinstance(process, Process):
                process.close()
        self._requests.clear()

    def expect_nothing(self) -> None:
        """The step has ended: an agent that isn't connected any more doesn't come back."""
        if not self.link.is_connected and not self.is_over:
            self._give_up("the step has ended")

    # --- its connection

    def resumed(self) -> None:
        """The link has a connection."""
        self._loop.forget(self._timer)
        self._timer = 0
        self._watcher.resumed(self)

    def _broke(self, why: str) -> None:
        self._watcher.broken(self, why)
        if not self._timer:
            self._timer = self._loop.after(self._patience, self._lose_patience)

    def _lose_patience(self) -> None:
        self._give_up(f"the node could not be reached for {self._patience:g} s")

    def _give_up(self, why: str) -> None:
        self.link.close()
        self._died(why)

    def _died(self, why: str) -> None:
        self._loop.forget(self._timer)
        requests, self._requests = self._requests, {}
        for answer in requests.values():
            answer(GONE, why)
        for process in [*self._processes.values()]:
            process.lost()
        if not self.is_done:
            self._watcher.lost(self, why)

    def _eased(self) -> None:
        for process in [*self._processes.values()]:
            if isinstance(process, Process):
                process.go_on_reading()

    # --- what it says

    def _take(self, kind: int, stream: int, payload: memoryview) -> None:
        if kind == frames.READY:
            self._make_ready(payload)
        elif kind == frames.ANSWER:
            self._answer(frames.value(payload), frames.value(payload, 4), frames.text(payload, 8))
        elif kind == frames.NOTE:
            self._watcher.note(self, frames.text(payload))
        elif kind == frames.DONE:
            self._finish()
        else:
            process = self._processes.get(stream >> 2)
            if process is None:
                raise ProtocolError(f"a frame of type {kind} about process {stream >> 2}, which isn't there")
            process.take(kind, stream, payload)

    def _make_ready(self, payload: memoryview) -> None:
        if self.is_ready:
            raise ProtocolError("a second READY")
        self.task, self.node, self.is_ready = frames.value(payload), frames.text(payload, 4), True
        self._watcher.ready(self)

    def _finish(self) -> None:
        if self.is_done:
            raise ProtocolError("a second DONE")
        self.is_done = True
        self.container.end_streams()
        self.link.send(frames.frame(frames.BYE, 0))
        self._watcher.done(self)

    def _answer(self, request: int, errno: int, text: str) -> None:
        answer = self._requests.pop(request, None)
        if answer is None:
            raise ProtocolError(f"an answer to request {request}, which wasn't made")
        answer(errno, text)

    def _ask(self, kind: int, process: int, what: bytes, answer: Answer) -> None:
        if self.is_over:
            answer(GONE, "the agent has gone")
            return
        self._last_request = self._last_request % 0xFFFFFFFF + 1
        self._requests[self._last_request] = answer
        self.link.send(frames.frame(kind, process * 4, frames.number(self._last_request) + what))

    def _request(self, number: int, request: bytes, kind: int, payload: bytes = b"") -> None:
        for part in (*frames.parts(number, request), frames.frame(kind, number * 4, payload)):
            self.link.send(part)

    def _process(
        self, number: int, streams: Sequence[int], follower: Follower, kept: ProcessState | None = None
    ) -> Process:
        process = Process(
            self._loop,
            number,
            streams=streams,
            unacknowledged=lambda: self.link.unacknowledged,
            send=self.link.send,
            follower=follower,
            free=lambda: self._free(number),
            log=lambda text: self._watcher.note(self, text),
            kept=kept,
        )
        self._processes[number] = process
        return process

    def _free_number(self) -> int:
        """A number for a further process, the one that was free longest."""
        if self.is_over:
            raise NodeRuntimeError(f"the connection to the node {self.node} is gone")
        for step in range(1, frames.PROCESSES):
            number = (self._last_number + step - 1) % (frames.PROCESSES - 1) + 1
            if number not in self._processes:
                self._last_number = number
                return number
        raise NodeRuntimeError(
            f"{frames.PROCESSES - 1} processes of exec run in the container: try again when one has ended"
        )

    def _free(self, number: int) -> None:
        if number:
            self._processes.pop(number, None)
        else:  # the container's own stays, for what may cross its end
            self._watcher.drained(self)


def _in_words(words: Sequence[str]) -> bytes:
    return b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)


def _checked(request: bytes) -> bytes:
    if len(request) > frames.MOST_PARTS:
        raise UsageError(
            f"the process object or command has {len(request)} bytes; {frames.MOST_PARTS} at most: give it less"
        )
    return request
