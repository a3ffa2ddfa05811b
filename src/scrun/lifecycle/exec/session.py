"""The two processes that stay as long as a process of exec runs: its stand-in and its session.

The caller sees and reaps the stand-in, which passes on signals and ends with the process's exit status. The session has
srun as its child. If the stand-in is killed, the session ends the process on the node. If the session is killed, the
stand-in ends the step.
"""

from __future__ import annotations

import os
import signal

from scrun import log
from scrun.errors import NodeRuntimeError, SlurmError
from scrun.lifecycle.container import messages, status
from scrun.lifecycle.exec import exec_script
from scrun.lifecycle.node import overlap
from scrun.lifecycle.node.step import Step
from scrun.lifecycle.process import processes, wire
from scrun.lifecycle.standin import standin
from scrun.lifecycle.terminal.console import Nudge
from scrun.slurm import srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypedDict

    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.messages import FromSession, ToExecCaller
    from scrun.lifecycle.process.loop import Loop

    class Order(TypedDict):
        """What a session is to do; it gets this by the fork."""

        token: str  # names the process on the node
        node: str
        environment: dict[str, str]  # srun's; the process object is in it
        watch: bool  # whether the node has to tell that the process could be run
        terminal: bool
        own_terminal: bool  # whether the terminal was made for the process, and isn't the caller's


_GRACE = 5.0  # seconds that the node's runtime has to end a process before its step is ended


def stand_in(channel: int) -> int:
    """Be the stand-in: wait until the session says how the process ended, and return the exit status.

    Args:
        channel: the connection to the session.

    Raises:
        SlurmError: the step could not be started.
    """
    standin.forward_signals(channel)
    signal.signal(signal.SIGWINCH, signal.SIG_IGN)  # srun handles changes of the window's size, without a step for each
    reader = wire.Reader(channel)
    step = (0, 0)
    while message := reader.next(messages.from_session):
        if "error" in message:
            raise wire.failed(message)
        if message["do"] == "exit":
            return message["status"]
        step = (message["pid"], message["started"])
    processes.signal_if_alive(*step, signal.SIGTERM)  # srun ends the step
    return status.KILLED


class Session:
    """One run of a process on the node.

    The session sends the caller, if it waits, ``{"started": …}`` or the error. It sends the stand-in the exit status,
    or the error.

    Args:
        loop: the event loop of this process.
        container: the container.
        order: what to do.
        stdio: descriptors of the process's standard input, output and error; they are closed.
        stand_in: the connection to the stand-in.
        caller: the connection to the caller; None if nobody waits.
    """

    def __init__(
        self, loop: Loop, container: Container, order: Order, *, stdio: list[int], stand_in: int, caller: int | None
    ) -> None:
        self._loop, self._container, self._order = loop, container, order
        self._stand_in: int | None = stand_in
        self._caller = caller
        self._reader = wire.Reader(stand_in)
        self._stdio = stdio
        self._status: int | None = None
        self._watching = order["watch"]
        self._failure: SlurmError | None = None
        record, token = container.record, order["token"]
        script = exec_script.run(record, token, watched=self._watching)

        def command(stderr: int | None) -> list[str]:
            return srun.exec_step(
                record["srun"],
                job=record["job"],
                node=order["node"],
                argv=["/bin/sh", "-c", f'eval "${srun.SCRIPT}"'],
                pty=order["terminal"],
                stderr=stderr,
            )

        self.step = Step(
            loop,
            command=command,
            environment={**order["environment"], srun.SCRIPT: script},
            stdio=stdio,
            terminal=order["terminal"],
            own_session=order["own_terminal"] or not order["terminal"],
            started=self._step_started,
            ended=self._step_ended,
            log=lambda line: self._log("debug", line),
            failed=lambda _line: None,  # there is only one task
        )
        self._let_go_of_stdio()
        self._tell_stand_in({"do": "step", "pid": self.step.pid, "started": processes.start_time(self.step.pid)})
        loop.watch(stand_in, self._from_stand_in)
        if self._watching:
            self._watch()

    def _let_go_of_stdio(self) -> None:
        """Leave the caller's input and output to srun alone."""
        quiet = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(quiet, descriptor)
        os.close(quiet)

    def _step_started(self, error: SlurmError | None) -> None:
        if error:
            self._failure = self._failure or error
        if error or not self._watching:
            self._answer()
        if not error and self._order["terminal"] and self._order["own_terminal"]:
            Nudge(self._loop, lambda: self._stdio[0])

    def _watch(self) -> None:
        script = exec_script.watch(self._container.record, self._order["token"])
        self._beside("watch", script, self._watched)

    def _watched(self, exit_status: int, said: str) -> None:
        if exit_status == exec_script.NOT_SEEN and self._status is None:
            self._watch()
            return
        self._watching = False
        if exit_status == exec_script.NOT_RUN:
            self._failure = self._failure or NodeRuntimeError(_reason(said))
        self._answer()
        self._finish()

    def _answer(self) -> None:
        """Send the caller its answer, once."""
        if self._caller is not None:
            started: ToExecCaller = {"started": True}
            said = wire.failure(self._failure) if self._failure else started
            wire.send(self._caller, said)
            os.close(self._caller)
            self._caller = None

    def _step_ended(self, exit_status: int) -> None:
        self._status = exit_status
        self._finish()

    def _finish(self) -> None:
        if self._status is not None and not self._watching:
            self._answer()
            how: FromSession = {"do": "exit", "status": self._status}
            self._tell_stand_in(wire.failure(self._failure) if self._failure else how)
            self._loop.stop()

    def _tell_stand_in(self, message: FromSession) -> None:
        if self._stand_in is not None:
            wire.send(self._stand_in, message)

    def _from_stand_in(self) -> None:
        said = self._reader.read(messages.from_exec_standin)
        if said is None:
            self._loop.unwatch(self._reader.descriptor)
            self._stand_in = None
            self.signal(signal.SIGKILL)
            self._loop.after(_GRACE, self.step.terminate)
            return
        for message in said:
            self.signal(message["signal"])

    def signal(self, number: int) -> None:
        """Send a signal to the process on the node."""

        def log_answer(exit_status: int, said: str) -> None:
            self._log("debug", f"signal {number}: {exit_status}: {said}")

        self._beside("kill", exec_script.send(self._container.record, self._order["token"], number), log_answer)

    def _beside(self, name: str, script: str, done: Callable[[int, str], None]) -> None:
        """Run a script in a step beside; ``done`` gets its exit status and what it printed."""
        command = overlap.argv(self._container.record, name, script, nodes=[self._order["node"]])
        environment = {**self._order["environment"]}
        del environment[exec_script.PROCESS]
        overlap.start(self._loop, command, environment, done)

    def _log(self, level: str, message: str) -> None:
        try:
            log.append(self._container.child("anchor.log"), level, f"exec {self._order['token']}: {message}")
        except OSError:
            pass  # the container is gone, and its log with it


def _reason(said: str) -> str:
    """Why the process could not be run, in words that docker recognizes; ``said`` may have lines of srun's too."""
    lines = [line for line in said.splitlines() if line.startswith("exec failed")]
    if not lines:
        return "exec failed: the node's runtime did not say why"
    # For these two crun says "Operation not permitted", which docker doesn't recognize.
    denied = any(words in lines[0] for words in ("is not executable", "is not a regular file"))
    return f"{lines[0]}: permission denied" if denied else lines[0]
