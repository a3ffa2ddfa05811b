"""pause and resume, in the anchor: on all nodes of the container.

The node's own runtime does it where it can, with the freezer of the container's cgroup. Elsewhere (a job without
cgroups of its own, or without the right to them) it is done by SIGSTOP.
"""

from __future__ import annotations

from scrun.errors import NodeRuntimeError, ScrunError
from scrun.lifecycle.anchor import life
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
    """Have all processes stop: then it is paused, half paused, or not paused at all."""

    def stopped(exit_status: int, said: str) -> None:
        anchor.log("debug", f"pause: {exit_status}: {said}")
        if exit_status:
            why = overlap.reason(said, exit_status)
            error = NodeRuntimeError(f"container {anchor.container.id!r} could not be paused: {why}")
            anchor.happen("half_paused", answer, error)
        else:
            anchor.happen("paused", answer)

    try:
        _run_on_nodes(anchor, pause_script.STOP, stopped)
    except ScrunError as error:
        anchor.happen("not_paused", answer, error)


def undo(anchor: Anchor, answer: Reply, error: ScrunError) -> None:
    """Have all processes go on: then it is not paused."""
    go_on(anchor, lambda _exit_status, _said: anchor.happen("not_paused", answer, error))


def go_on(anchor: Anchor, done: Callable[[int, str], None]) -> None:
    """Let all processes of the container go on.

    Raises:
        NodeRuntimeError: oci.conf doesn't say how the node's runtime is asked.
    """
    _run_on_nodes(anchor, pause_script.CONTINUE, done)


def resume(anchor: Anchor, answer: Reply) -> None:
    """Have all processes go on: then it is resumed, or not."""

    def gone_on(exit_status: int, said: str) -> None:
        anchor.log("debug", f"resume: {exit_status}: {said}")
        if exit_status:
            why = overlap.reason(said, exit_status)
            error = NodeRuntimeError(f"container {anchor.container.id!r} could not be resumed: {why}")
            anchor.happen("not_resumed", answer, error)
        else:
            anchor.happen("resumed", answer)

    try:
        go_on(anchor, gone_on)
    except ScrunError as error:
        anchor.happen("not_resumed", answer, error)


def refuse_pause(anchor: Anchor, answer: Reply) -> None:
    """Say why it can't be paused now."""
    now = anchor.container.phase()
    if anchor.state in life.TURNING:
        now = "being paused or resumed"
    elif anchor.state in life.ENDED:
        now = status.STOPPED
    elif status.can_pause(now):
        now = "starting" if anchor.record.get("nodes") else f"waiting for job {anchor.record.get('job')}"
    answer(wire.failure(status.cannot_pause(anchor.container.id, now)))


def refuse_resume(anchor: Anchor, answer: Reply) -> None:
    """Say why it can't be resumed now."""
    now = anchor.container.phase()
    if anchor.state in life.TURNING:
        now = "being resumed"
    elif anchor.state in life.ENDED:
        now = status.STOPPED
    answer(wire.failure(status.cannot_resume(anchor.container.id, now)))


def _run_on_nodes(anchor: Anchor, script: str, done: Callable[[int, str], None]) -> None:
    record = anchor.record
    left = anchor.step.progress.left() if anchor.step else {}
    nodes = [*left] or srun.expand_nodes(record["nodes"])
    name = "pause" if script is pause_script.STOP else "resume"
    command = overlap.argv(record, name, members.script(record, script), nodes=nodes)
    overlap.start(anchor.loop, command, anchor.plan["environment"], done)
