"""kill, in the anchor: a signal on its way to the container's processes."""

from __future__ import annotations

import errno

from scrun import signal
from scrun.errors import NodeRuntimeError, WrongStatus
from scrun.lifecycle.connection.agent import GONE
from scrun.lifecycle.container import status
from scrun.lifecycle.process import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.anchor.view import Anchor
    from scrun.lifecycle.connection.connection import Answers
    from scrun.lifecycle.container.messages import Reply
    from scrun.lifecycle.node.step import Step


# What a process that has no handler for it survives (signal(7)); of a container that isn't started no process has one.
HARMLESS = (0, signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH)
_ENDED = (errno.ESRCH, GONE)  # the process is not there any more
_PAUSE = 0.1  # seconds between two looks
# Seconds that the agent has for SIGKILL, and then srun to end the step: podman, which has no other way, gives up 5 s
# after its SIGKILL.
_PATIENCE, _GRACE = 2.0, 1.5
_SLOW = 3.0  # seconds for an agent's answer, after which the signal only waits for it
_THAW = 0.5  # seconds until what is frozen, and not only stopped, must go on to die (a cgroup v1 freezer)
_END_IS_HEARD = 50  # looks: srun tells of a process's end later than the agent knows it
_STARTS = 200  # looks for an agent that is only coming


def refuse(anchor: Anchor, answer: Reply) -> None:
    """There is no process for a signal."""
    answer(wire.failure(WrongStatus(f"cannot kill container {anchor.container.id!r}: container not running")))


def deliver(anchor: Anchor, number: int, answer: Reply, looks: int = _STARTS) -> None:
    """Send the signal to the process of a container that has a step, and say when it has it."""
    container, nodes = anchor.container.id, anchor.nodes
    if number == 0:
        answer({"sent": number})
        return
    if nodes is None:
        why = f"{anchor.record.get('unconnected', '')}: SIGKILL ends it"
        answer(wire.failure(NodeRuntimeError(f"signal {number} can't be sent to container {container!r}: {why}")))
        return
    if not nodes.connection.agents and looks and not nodes.has_run and "exit_status" not in anchor.record:
        anchor.loop.after(_PAUSE, lambda: deliver(anchor, number, answer, looks - 1))
        return
    is_done = False

    def put_off() -> None:
        """The agent is stopped (a suspended job), or can't be reached: it gets the signal when that is over."""
        nonlocal is_done
        if not is_done:
            is_done = True
            anchor.log("info", f"signal {number} waits, because no answer comes from {anchor.record['nodes']}")
            answer({"sent": number})

    def done(answers: Answers) -> None:
        nonlocal is_done
        if is_done:
            return
        is_done = True
        missed = [(agent, text) for agent, error, text in answers if error and error not in _ENDED]
        if "exit_status" in anchor.record or (any(error == 0 for _agent, error, _text in answers) and not missed):
            answer({"sent": number})
        elif missed:
            agent, text = missed[0]
            why = f"{agent.node}: {text or 'it is refused'}"
            answer(wire.failure(NodeRuntimeError(f"signal {number} did not reach container {container!r}: {why}")))
        else:
            _answer_at_the_end(anchor, number, answer)

    nodes.connection.signal(number, done)
    anchor.loop.after(_SLOW, put_off)


def _answer_at_the_end(anchor: Anchor, number: int, answer: Reply, tries: int = _END_IS_HEARD) -> None:
    """The process has ended, and the container hasn't: a signal counts as sent, as one to a process nobody has reaped.

    The second Ctrl-C at a podman run comes here. An error would have podman end without the container's exit status.
    """
    if "exit_status" in anchor.record:
        answer({"sent": number})
    elif tries:
        anchor.loop.after(_PAUSE, lambda: _answer_at_the_end(anchor, number, answer, tries - 1))
    else:
        refuse(anchor, answer)


def force(anchor: Anchor, step: Step) -> None:
    """End the container's processes by SIGKILL, by whatever means it takes.

    The agent first, so that the node's runtime tidies up after itself; what kills the step kills the runtime too, and
    leaves its state and, where slurmd tracks processes by their parents (proctrack/linuxproc), even the container.
    """

    is_answered = False

    def end_step() -> None:
        # A job of ours ends all that is left in it; in another one srun must have the time to do that.
        step.terminate(_GRACE if anchor.record.get("job_owned") else None)

    def done(answers: Answers) -> None:
        nonlocal is_answered
        is_answered = True
        if any(error and error not in _ENDED for _agent, error, _text in answers) or not answers:
            end_step()
        elif anchor.status == status.PAUSED:
            anchor.loop.after(_THAW, thaw)

    def late() -> None:
        if anchor.nodes and not is_answered:
            anchor.nodes.is_silent = True
        end_step()

    def thaw() -> None:
        if "exit_status" not in anchor.record:
            from scrun.lifecycle.anchor import freeze  # seldom needed, and not kept in every anchor's memory

            freeze.go_on(anchor, lambda _why: None)

    anchor.loop.after(_PATIENCE, late)
    if anchor.nodes:
        anchor.nodes.hasten()
        anchor.nodes.connection.signal(signal.SIGKILL, done, everyone=True)
    else:
        end_step()


def force_late(anchor: Anchor) -> None:
    """The step has started although srun was told to end it.

    srun forgets a SIGTERM that comes while it creates its step, and one that comes while it launches the tasks doesn't
    end those (seen with 26.05). Without this the container would go on until srun itself is killed (step.py).
    """
    if anchor.nodes:
        anchor.nodes.connection.signal(signal.SIGKILL, lambda _answers: None, everyone=True)
