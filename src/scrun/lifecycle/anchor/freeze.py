"""pause and resume, in the anchor: on all nodes of the container.

The node's own runtime does it where it can, with the freezer of the container's cgroup. Elsewhere (a job without
cgroups of its own, or without the right to them) the agent does it, by SIGSTOP.
"""

from __future__ import annotations

import os

from scrun.errors import NodeRuntimeError, ScrunError
from scrun.lifecycle.anchor import life
from scrun.lifecycle.container import status
from scrun.lifecycle.node import runtime_words
from scrun.lifecycle.process import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.anchor.view import Anchor
    from scrun.lifecycle.connection.connection import Answers
    from scrun.lifecycle.container.messages import Reply

_OUT_OF_REACH = "its nodes can't be reached now"


def pause(anchor: Anchor, answer: Reply) -> None:
    """Have all processes stop: then it is paused, half paused, or not paused at all."""
    nodes = anchor.nodes
    if nodes is None or not nodes.connection.agents:
        why = anchor.record.get("unconnected") or _OUT_OF_REACH
        error = NodeRuntimeError(f"container {anchor.container.id!r} can't be paused: {why}")
        anchor.happen("not_paused", answer, error)
        return

    def stopped(answers: Answers) -> None:
        if failed := _failed(answers):
            why = NodeRuntimeError(f"container {anchor.container.id!r} could not be paused: {failed}")
            anchor.happen("half_paused", answer, why)
        else:
            anchor.happen("paused", answer)

    def frozen(failures: list[str]) -> None:
        nodes.is_frozen = not failures
        if not failures:
            anchor.happen("paused", answer)
        elif len(nodes.connection.agents) > 1:  # no signal reaches what one node's runtime has frozen
            _ask_runtime(anchor, "resume", lambda _failures: nodes.connection.stop(stopped))
        else:
            nodes.connection.stop(stopped)

    _ask_runtime(anchor, "pause", frozen)


def undo(anchor: Anchor, answer: Reply, error: ScrunError) -> None:
    """Have all processes go on: then it is not paused."""
    go_on(anchor, lambda _why: anchor.happen("not_paused", answer, error))


def go_on(anchor: Anchor, done: Callable[[str], None]) -> None:
    """Let all processes of the container go on; ``done`` gets why that failed, or nothing."""
    nodes = anchor.nodes
    if nodes is None:
        done(anchor.record.get("unconnected", ""))
        return

    def continued(answers: Answers) -> None:
        done(_failed(answers))

    def thawed(failures: list[str]) -> None:
        if failures:
            done(failures[0])
        else:
            nodes.is_frozen = False
            nodes.connection.go_on(continued)

    if nodes.is_frozen:
        _ask_runtime(anchor, "resume", thawed)
    else:
        nodes.connection.go_on(continued)


def resume(anchor: Anchor, answer: Reply) -> None:
    """Have all processes go on: then it is resumed, or not."""

    def gone_on(why: str) -> None:
        if why:
            error = NodeRuntimeError(f"container {anchor.container.id!r} could not be resumed: {why}")
            anchor.happen("not_resumed", answer, error)
        else:
            anchor.happen("resumed", answer)

    go_on(anchor, gone_on)


def refuse_pause(anchor: Anchor, answer: Reply) -> None:
    """Say why it can't be paused now."""
    now = anchor.container.phase()
    if anchor.state in life.TURNING:
        now = "being paused or resumed"
    elif anchor.state in life.ENDED:
        now = status.STOPPED
    elif status.can_pause(now):
        now = "starting"
    is_waiting = now == "starting" and not anchor.record.get("nodes")
    why = status.why_no_nodes(anchor.record.get("job")) if is_waiting else f"it is {now}"
    answer(wire.failure(status.cannot_pause(anchor.container.id, why)))


def refuse_resume(anchor: Anchor, answer: Reply) -> None:
    """Say why it can't be resumed now."""
    now = anchor.container.phase()
    if anchor.state in life.TURNING:
        now = "being resumed"
    elif anchor.state in life.ENDED:
        now = status.STOPPED
    answer(wire.failure(status.cannot_resume(anchor.container.id, now)))


def _failed(answers: Answers) -> str:
    """What the first agent that failed has said; empty where all have done it."""
    failed = [f"{agent.node}: {text or os.strerror(error)}" for agent, error, text in answers if error]
    return failed[0] if failed else "" if answers else _OUT_OF_REACH


def _ask_runtime(anchor: Anchor, verb: str, done: Callable[[list[str]], None]) -> None:
    """Have each node's own runtime do it; ``done`` gets what those said that failed."""
    nodes = anchor.nodes
    agents = nodes.connection.agents if nodes else []
    failures: list[str] = []
    left = len(agents)
    if not agents:
        done([_OUT_OF_REACH])
        return
    try:
        program, name = runtime_words.call(anchor.record)
    except ScrunError as error:
        done([str(error)])
        return
    script = f'exec {program} {verb} "{name}"'  # the agent says which $task it is

    def ran(node: str, exit_status: int, said: str) -> None:
        nonlocal left
        if exit_status:
            failures.append(f"{node}: {(said.splitlines() or [f'status {exit_status}'])[-1]}")
        left -= 1
        if not left:
            done(failures)

    for agent in agents:
        try:
            agent.run(["/bin/sh", "-c", script], lambda code, said, node=agent.node: ran(node, code, said))  # type: ignore[misc]
        except ScrunError as error:
            ran(agent.node, 1, str(error))
