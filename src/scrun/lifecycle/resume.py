"""resume: let every process of a paused container go on."""

from __future__ import annotations

from scrun.errors import NodeRuntimeError, ScrunError, WrongStatus
from scrun.lifecycle import node, pause, status, wire
from scrun.lifecycle.control import ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.anchor import Anchor
    from scrun.lifecycle.container import Container
    from scrun.lifecycle.pause import Answer


def run(container: Container) -> None:
    """Resume the container; return when its processes go on.

    Raises:
        WrongStatus: it isn't paused.
        NodeRuntimeError: its nodes can't be asked.
    """
    # Whether it can be the anchor knows: its record could perhaps not be written (a full disk).
    if ask(container, {"do": "resume"}) is None:
        now = container.phase()
        raise _not_paused(container, "without its anchor" if status.can_resume(now) else now)


def deliver(anchor: Anchor, answer: Answer) -> None:
    """The anchor's side of it."""
    container = anchor.container
    now = container.phase()
    if anchor.is_turning or not status.can_resume(now):
        answer(wire.failure(_not_paused(container, "being resumed" if anchor.is_turning else now)))
        return

    def gone_on(exit_status: int, said: str) -> None:
        anchor.log("debug", f"resume: {exit_status}: {said}")
        if "exit_status" in anchor.record:
            answer({"resumed": True})  # it went on and ended, which cut the step short
        elif exit_status:
            why = node.reason(said, exit_status)
            answer(wire.failure(NodeRuntimeError(f"container {container.id!r} could not be resumed: {why}")))
        else:
            anchor.set_status(status.RUNNING)
            answer({"resumed": True})

    try:
        pause.go_on(anchor, gone_on)
    except ScrunError as error:
        answer(wire.failure(error))


def _not_paused(container: Container, now: str) -> WrongStatus:
    return WrongStatus(f"cannot resume container {container.id!r}: container not paused: it is {now}")
