"""pause and resume, in the anchor: on all nodes of the container.

The node's own runtime does it where it can, with the freezer of the container's cgroup. Elsewhere (a job without
cgroups of its own, or without the right to them) it is done by SIGSTOP.
"""

from __future__ import annotations

from scrun.errors import NodeRuntimeError, ScrunError
from scrun.lifecycle.container import status
from scrun.lifecycle.node import members, overlap, pause_script
from scrun.lifecycle.process import wire
from scrun.slurm import srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.anchor.view import Anchor
    from scrun.lifecycle.container.messages import Reply


def pause(anchor: Anchor, answer: Reply) -> None:
    """The anchor's side of it."""
    container, record = anchor.container, anchor.record
    now = container.phase()
    if anchor.is_turning or not status.can_pause(now):
        answer(wire.failure(status.cannot_pause(container.id, "being paused or resumed" if anchor.is_turning else now)))
        return
    if not anchor.step or not anchor.step.progress.started:
        what = "starting" if record.get("nodes") else f"waiting for job {record.get('job')}"
        answer(wire.failure(status.cannot_pause(container.id, what)))
        return

    def stopped(exit_status: int, said: str) -> None:
        anchor.log("debug", f"pause: {exit_status}: {said}")
        if exit_status and "exit_status" not in record:
            why = overlap.reason(said, exit_status)
            error = NodeRuntimeError(f"container {container.id!r} could not be paused: {why}")
            go_on(anchor, lambda _exit_status, _said: answer(wire.failure(error)))
        elif "exit_status" in record:
            answer(wire.failure(status.cannot_pause(container.id, status.STOPPED)))
        else:
            anchor.set_status(status.PAUSED)
            answer({"paused": True})

    try:
        turn(anchor, pause_script.STOP, stopped)
    except ScrunError as error:
        answer(wire.failure(error))


def turn(anchor: Anchor, script: str, done: Callable[[int, str], None]) -> None:
    """Run the script on the nodes; meanwhile the container is neither paused nor resumed.

    Raises:
        NodeRuntimeError: oci.conf doesn't say how the node's runtime is asked.
    """

    def ended(exit_status: int, said: str) -> None:
        anchor.is_turning = False
        done(exit_status, said)

    record = anchor.record
    left = anchor.step.progress.left() if anchor.step else {}
    nodes = [*left] or srun.expand_nodes(record["nodes"])
    name = "pause" if script is pause_script.STOP else "resume"
    command = overlap.argv(record, name, members.script(record, script), nodes=nodes)
    overlap.start(anchor.loop, command, anchor.plan["environment"], ended)
    anchor.is_turning = True


def go_on(anchor: Anchor, done: Callable[[int, str], None]) -> None:
    """Let all processes of the container go on.

    Raises:
        NodeRuntimeError: oci.conf doesn't say how the node's runtime is asked.
    """
    turn(anchor, pause_script.CONTINUE, done)


def resume(anchor: Anchor, answer: Reply) -> None:
    """The anchor's side of it."""
    container = anchor.container
    now = container.phase()
    if anchor.is_turning or not status.can_resume(now):
        answer(wire.failure(status.cannot_resume(container.id, "being resumed" if anchor.is_turning else now)))
        return

    def gone_on(exit_status: int, said: str) -> None:
        anchor.log("debug", f"resume: {exit_status}: {said}")
        if "exit_status" in anchor.record:
            answer({"resumed": True})  # it went on and ended, which cut the step short
        elif exit_status:
            why = overlap.reason(said, exit_status)
            answer(wire.failure(NodeRuntimeError(f"container {container.id!r} could not be resumed: {why}")))
        else:
            anchor.set_status(status.RUNNING)
            answer({"resumed": True})

    try:
        go_on(anchor, gone_on)
    except ScrunError as error:
        answer(wire.failure(error))
