"""kill, in the anchor: a signal on its way to the container's processes."""

from __future__ import annotations

import os
import signal

from scrun.errors import NodeRuntimeError, ScrunError, WrongStatus
from scrun.lifecycle.container import status
from scrun.lifecycle.node import overlap, signal_script
from scrun.lifecycle.process import wire
from scrun.slurm import srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.anchor.view import Anchor
    from scrun.lifecycle.container.messages import Reply
    from scrun.lifecycle.node.step import Step


# What a process that has no handler for it survives (signal(7)); of a container that isn't started no process has one.
HARMLESS = (0, signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH)
_PAUSE = 0.1  # seconds between two tries
_FORCED_TRIES = 3  # for SIGKILL, which has another way
# Seconds that the node's runtime has for SIGKILL, and then srun to end the step: podman, which has no other way, gives
# up 5 s after its SIGKILL.
_PATIENCE, _GRACE = 2.0, 1.5
_SLOW = 3.0  # seconds after which it is asked whether the job is suspended
_THAW = 0.5  # seconds until what is frozen, and not only stopped, must go on to die (a cgroup v1 freezer)
_GONE = ("not running", "no such process", "does not exist", "No such file")
_END_IS_HEARD = 50  # tries, as above: srun tells of a process's end later than the node's runtime knows it


def refuse(anchor: Anchor, answer: Reply) -> None:
    """There is no process for a signal."""
    answer(wire.failure(WrongStatus(f"cannot kill container {anchor.container.id!r}: container not running")))


def deliver(anchor: Anchor, number: int, answer: Reply, tries: int = signal_script.TRIES) -> None:
    """Send the signal to the processes of a container that has a step, and say when they have it."""
    if number == 0:
        answer({"sent": number})
        return
    container = anchor.container.id
    is_done, sender = False, 0

    def look() -> None:
        if not is_done:
            from scrun.lifecycle.anchor import suspended  # seldom needed, and not kept in every anchor's memory

            suspended.ask(anchor, put_off)

    def put_off(state: str) -> None:
        nonlocal is_done

        if state == status.SUSPENDED and not is_done:
            is_done = True
            os.kill(sender, signal.SIGKILL)
            deliver_later(anchor, number)
            answer({"sent": number})

    def done(exit_status: int, said: str) -> None:
        nonlocal is_done
        if is_done:
            return
        is_done = True
        if exit_status == 0 or "exit_status" in anchor.record:
            # A container that ended meanwhile took the signal or didn't need it; its job's end cut the step short.
            answer({"sent": number})
        elif anchor.record["tasks"] == 1 and any(word in said for word in _GONE):
            _answer_at_the_end(anchor, number, answer)
        else:
            answer(wire.failure(NodeRuntimeError(f"signal {number} did not reach container {container!r}: {said}")))

    if tries and anchor.step and not anchor.step.progress.started and "exit_status" not in anchor.record:
        # Which task is on which node is known a moment later.
        anchor.loop.after(_PAUSE, lambda: deliver(anchor, number, answer, tries - 1))
        return
    try:
        sender = send_on_node(anchor, number, done)
        anchor.loop.after(_SLOW, look)
    except ScrunError as error:
        answer(wire.failure(error))


def deliver_later(anchor: Anchor, number: int) -> None:
    """Send the signal when the container's job, which Slurm has suspended, goes on: a stopped process gets it then."""
    from scrun.lifecycle.anchor import suspended

    def send() -> None:
        try:
            send_on_node(anchor, number, lambda _exit_status, _said: None)
        except ScrunError as error:
            anchor.log("error", str(error))

    suspended.when_it_goes_on(anchor, send)


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
    """End the container's process by SIGKILL, by whatever means it takes.

    The node's runtime first, since it tidies up after itself; what kills the step kills the runtime too, and leaves its
    state and, where slurmd tracks processes by their parents (proctrack/linuxproc), even the container on the node.
    """

    def end_step() -> None:
        # A job of ours ends all that is left in it; in another one srun must have the time to do that.
        step.terminate(_GRACE if anchor.record.get("job_owned") else None)

    def done(exit_status: int, _said: str) -> None:
        if exit_status:
            end_step()
        elif anchor.status == status.PAUSED:
            anchor.loop.after(_THAW, thaw)

    def thaw() -> None:
        if "exit_status" not in anchor.record:
            from scrun.lifecycle.anchor import freeze  # seldom needed, and not kept in every anchor's memory

            freeze.go_on(anchor, lambda _exit_status, _said: None)

    anchor.loop.after(_PATIENCE, end_step)
    try:
        if not step.progress.started:
            raise NodeRuntimeError("the container is not there yet")
        send_on_node(anchor, signal.SIGKILL, done, _FORCED_TRIES)
    except ScrunError:
        end_step()


def force_late(anchor: Anchor) -> None:
    """The step has started although srun was told to end it.

    srun forgets a SIGTERM that comes while it creates its step, and one that comes while it launches the tasks doesn't
    end those (seen with 26.05). Without this the container would go on until srun itself is killed (step.py).
    """
    try:
        send_on_node(anchor, signal.SIGKILL, lambda _exit_status, _said: None)
    except ScrunError:
        pass  # it ends with srun, and its job


def send_on_node(
    anchor: Anchor, number: int, done: Callable[[int, str], None], tries: int = signal_script.TRIES
) -> int:
    """Through the node's own runtime; ``done`` gets the exit status of the attempt and what was said.

    The result is the pid of the srun that does it, 0 where there is nothing to be done.

    Every task that has not ended gets it, on its own node. A signal to the step would also reach the shell that
    slurmstepd runs the runtime with, and end it; the exit status that the container's process then has is lost.

    Raises:
        NodeRuntimeError: oci.conf doesn't say how.
    """
    progress = anchor.step.progress if anchor.step else srun.Progress()
    tasks = progress.left()
    if not tasks:
        done(0 if progress.started else 1, "it is starting")
        return 0

    def ended(exit_status: int, said: str) -> None:
        anchor.log("debug", f"signal {number}: {exit_status}: {said}")
        missed, why = signal_script.missed(said)
        left = progress.left()
        if missed and not any(task in left.get(name, ()) for name, task in missed):
            exit_status = 0  # they have ended meanwhile
        done(exit_status, why)

    script = signal_script.script(anchor.record, number, tasks, tries)
    command = overlap.argv(anchor.record, "kill", script, nodes=[*tasks])
    return overlap.start(anchor.loop, command, anchor.plan["environment"], ended)
