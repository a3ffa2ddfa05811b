"""create: check everything, then have a job asked for and the container staged (runtime-spec, runtime.md, Create)."""

from __future__ import annotations

import os
import signal
import time

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
    """A signal that ends create; ``args[0]`` is its number."""


def run(root: str, container_id: str, options: Options, output: Output) -> None:
    """Create the container; return when its job has its nodes and the hooks have run, or the wait takes too long.

    Raises:
        ScrunError: anything that prevents it; nothing is left then.
        SystemExit: interrupted by a signal; nothing is left then either.
    """
    with Creation(root, container_id) as creation:
        creation.carry_out(creation.plan(options, output))
        creation.wait(output)


class Creation:
    """A container that is being created: its directory is claimed, and its anchor waits for the plan.

    As a context manager it undoes everything when something goes wrong, or a signal interrupts it.
    """

    def __init__(self, root: str, container_id: str) -> None:
        for number in _INTERRUPTS:
            signal.signal(number, _interrupt)
        _open_missing_stdio()
        self.container = _claim(root, container_id)
        try:
            self._anchor = spawn(self.container)  # it imports what is slow while the config is read here
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
            signal.signal(number, signal.SIG_IGN)  # what follows is the clean-up
        self._send({"do": "abort"})
        self.wait_for_the_end()
        if isinstance(error, Interrupted):
            raise SystemExit(128 + error.args[0]) from None

    def plan(self, options: Options, output: Output) -> Plan:
        """What the anchor is to do: see :func:`scrun.lifecycle.caller.planning.make`."""
        # Here, not above: what is imported before the anchor is forked stays in its memory.
        from scrun.lifecycle.caller import planning

        return planning.make(self.container, options, os.environ, output)

    def carry_out(self, plan: Plan) -> None:
        """Have the anchor do what the plan says."""
        self._send({"do": "create", "plan": plan})

    def wait(self, output: Output) -> None:
        """Until the anchor says that the container is created.

        Raises:
            ScrunError: why it isn't.
        """
        from scrun.lifecycle.recovery import sweep

        sweep.begin(os.path.dirname(self.container.path), output.say, but=self.container.id, keep=output.descriptors)
        try:
            _wait(self._reader, output)
        finally:
            if output.live:
                output.live.clear()

    def have_it_opened_anew(self) -> Container:
        """The container with its record, for one who stays: what was forked from us shares the lock of the old one."""
        fresh = Container.open(os.path.dirname(self.container.path), self.container.id)
        os.close(self.container.descriptor)
        return fresh

    def leave_it_alone(self) -> None:
        """An attached container is nobody's from here on: it outlives whoever created it."""
        self._send({"do": "leave alone"})

    def wait_for_the_end(self) -> None:
        """Until the anchor has ended; all that it owed is paid then."""
        while self._reader.read(messages.to_creator) is not None:
            pass

    def _send(self, message: FromCreator) -> None:
        wire.send(self._anchor, message)


def _claim(root: str, container_id: str) -> Container:
    """Claim the directory; while the files of a deleted container of that id are coming back, wait for it."""
    while True:
        try:
            return Container.claim(root, container_id)
        except ContainerExists:
            from scrun.lifecycle.recovery import coming_back

            coming_back.wait(root, container_id)


def _open_missing_stdio() -> None:
    """The lowest three descriptors are the container's; a caller that closed one meant /dev/null."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _interrupt(number: int, _frame: object) -> None:
    raise Interrupted(number)


def _wait(reader: wire.Reader, output: Output) -> None:
    queued_at = 0.0
    while (said := reader.read(messages.to_creator)) is not None:
        for message in said:
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
    """How far it is: for a person who looks on; in a log it is of use only when a fault is looked for."""
    if output.live:
        output.live.show(text)
    else:
        output.say("debug", text)


def _pass_on(message: Log, output: Output) -> None:
    if output.live:
        output.live.clear()
    output.say(message["log"], message["message"], system=False)  # the anchor does that
