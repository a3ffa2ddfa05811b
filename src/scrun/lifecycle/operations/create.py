"""create: check everything, then let the anchor get a job and stage the files (runtime-spec, runtime.md, Create)."""

from __future__ import annotations

import os
import time

from scrun import signal
from scrun.errors import ContainerExists, ScrunError
from scrun.lifecycle.caller.options import Options, Output
from scrun.lifecycle.container import messages
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.process import wire
from scrun.lifecycle.spawn import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from scrun.lifecycle.container.messages import FromCreator, Log, Waiting
    from scrun.lifecycle.container.plan import Plan

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal has ended create; ``args[0]`` is its number."""


def create_container(root: str, container_id: str, options: Options, output: Output) -> None:
    """Create a container; return when its job has nodes and its files are staged, or when the patience is over.

    Args:
        root: the directory of the containers.
        container_id: the new container's id.
        options: the options of the command line.
        output: where messages go.

    Raises:
        ScrunError: the container can't be created; nothing of it is left.
        SystemExit: a signal came; nothing of the container is left. The status is 128 + n for signal n.
    """
    with Creation(root, container_id) as creation:
        creation.carry_out(creation.plan(options, output))
        creation.wait(output)


class Creation:
    """A container that is being created: its directory is claimed, and its anchor waits for the plan.

    Use it as a context manager: if an error or a signal ends the block, everything is undone.
    """

    def __init__(self, root: str, container_id: str) -> None:
        for number in _INTERRUPTS:
            signal.signal(number, _interrupt)
        _open_missing_stdio()
        self.container = _claim(root, container_id)
        try:
            self._anchor = spawn(self.container)  # its workers import slow libraries while the config is read here
        except BaseException:
            self.container.remove()
            raise
        self._reader = wire.Reader(self._anchor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is None:
            return
        for number in _INTERRUPTS:
            signal.signal(number, signal.SIG_IGN)  # because the clean-up begins
        self._send({"do": "abort"})
        self.wait_for_the_end()
        if isinstance(error, Interrupted):
            raise SystemExit(128 + error.args[0]) from None

    def plan(self, options: Options, output: Output) -> Plan:
        """Make the plan for the anchor: see :func:`scrun.lifecycle.caller.planning.make_plan`."""
        # Not imported above, because what is imported before the fork stays in the anchor's memory.
        from scrun.lifecycle.caller import planning

        return planning.make_plan(self.container, options, os.environ, output)

    def carry_out(self, plan: Plan) -> None:
        """Send the plan to the anchor, which begins its work."""
        self._send({"do": "create", "plan": plan})

    def wait(self, output: Output) -> None:
        """Wait until the anchor says that the container is created.

        Raises:
            ScrunError: the reason why the container can't be created.
        """
        from scrun.lifecycle.recovery import sweep

        root, here = os.path.split(self.container.path)
        sweep.sweep_in_background(root, output.say, but=here, keep=output.descriptors)
        try:
            _wait(self._reader, output)
        finally:
            if output.live:
                output.live.clear()

    def reopen(self) -> Container:
        """Open the container anew and read its record.

        A caller that stays needs its own lock: the processes that were forked share the lock of the first descriptor.
        """
        fresh = Container.open(os.path.dirname(self.container.path), self.container.id)
        os.close(self.container.descriptor)
        return fresh

    def leave_it_alone(self) -> None:
        """Tell the anchor that an attached container shall outlive this process."""
        self._send({"do": "leave alone"})

    def wait_for_the_end(self) -> None:
        """Wait until the anchor has ended. Then nothing is owed for the container any more."""
        while self._reader.read(messages.to_creator) is not None:
            pass

    def _send(self, message: FromCreator) -> None:
        wire.send(self._anchor, message)


def _claim(root: str, container_id: str) -> Container:
    """Claim the container's directory.

    If a container of that id was deleted and its files are still coming back, wait until they are here.
    """
    while True:
        try:
            return Container.claim(root, container_id)
        except ContainerExists:
            from scrun.lifecycle.recovery import coming_back

            coming_back.wait(root, container_id)


def _open_missing_stdio() -> None:
    """Open /dev/null for each standard descriptor that the caller has closed, because all three are the container's."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


def _interrupt(number: int, _frame: object) -> None:
    raise Interrupted(number)


def _wait(reader: wire.Reader, output: Output) -> None:
    queued_at = 0.0
    while (reports := reader.read(messages.to_creator)) is not None:
        for message in reports:
            wire.raise_failure(message)
            if "created" in message:
                return
            if "waiting" in message:
                queued_at = queued_at or time.time()
                _say_queued(message, output, queued_at)
            elif "granted" in message and output.live:
                output.live.clear()
            elif "progress" in message:
                _say_progress(message["progress"], output)
            elif "log" in message:
                _pass_on(message, output)
    raise ScrunError("internal error: the anchor ended without an answer")


def _say_queued(message: Waiting, output: Output, queued_at: float) -> None:
    text = f"job {message['job']} is queued{f' ({why})' if (why := message['waiting']) else ''}"
    if output.live:
        output.live.show(text, queued_at)
    else:
        output.say("info", text)


def _say_progress(text: str, output: Output) -> None:
    """Show a person how far staging is. In a log, progress helps only when somebody looks for a fault."""
    if output.live:
        output.live.show(text)
    else:
        output.say("debug", text)


def _pass_on(message: Log, output: Output) -> None:
    if output.live:
        output.live.clear()
    output.say(message["log"], message["message"], system=False)  # the anchor writes it to syslog
