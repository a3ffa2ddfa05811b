"""kill: send a signal to the container's process (runtime-spec, runtime.md, Kill)."""

from __future__ import annotations

import os
import signal

from scrun.errors import NodeRuntimeError, ScrunError, UsageError, WrongStatus
from scrun.lifecycle import leaving, node, status, wire
from scrun.lifecycle.control import ask
from scrun.slurm import srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from scrun.lifecycle.anchor import Anchor
    from scrun.lifecycle.container import Container
    from scrun.lifecycle.step import Step
    from scrun.lifecycle.wire import Message

    Answer = Callable[[Message], None]

# What a process that has no handler for it survives (signal(7)); of a container that isn't started no process has one.
_HARMLESS = (0, signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH)
_PAUSE = 0.1  # seconds between two tries
_TRIES = 40  # the node's runtime may not know the container yet, just after start
_FORCED_TRIES = 3  # for SIGKILL, which has another way
# Seconds that the node's runtime has for SIGKILL, and then srun to end the step: podman, which has no other way, gives
# up 5 s after its SIGKILL.
_PATIENCE, _GRACE = 2.0, 1.5
_SLOW = 3.0  # seconds after which it is asked whether the job is suspended
_THAW = 0.5  # seconds until what is frozen, and not only stopped, must go on to die (a cgroup v1 freezer)
_MISSED, _WHY = "missed", "why"  # the first words of what a node says
_GONE = ("not running", "no such process", "does not exist", "No such file")
_END_IS_HEARD = 50  # tries, as above: srun tells of a process's end later than the node's runtime knows it


def run(container: Container, number: int, *, is_for_all: bool = False) -> None:
    """Send the signal. Where it is for all processes and there is none any more, it is sent (runc, crun: kill --all).

    Raises:
        WrongStatus: the container isn't running, nor created.
        NodeRuntimeError: the node's runtime can't be asked.
    """
    try:
        _send(container, number)
    except WrongStatus:
        if is_for_all:
            container.load()
        if not is_for_all or container.status() != status.STOPPED:
            raise


def _send(container: Container, number: int) -> None:
    if status.can_kill(container.status()) and ask(container, {"do": "kill", "signal": number}) is not None:
        return
    now = container.status()
    why = "its anchor is gone" if status.can_kill(now) else f"it is {now}"
    raise WrongStatus(f"cannot kill container {container.id!r}: container not running: {why}")


def signal_number(name: str) -> int:
    """The number of a signal given as 15, TERM, SIGTERM or RTMIN+3 (kill(1)).

    Raises:
        UsageError: no such signal.
    """
    text = name.upper()
    if _is_number(text) and int(text) < signal.NSIG:
        return int(text)
    text = text.removeprefix("SIG")
    found = getattr(signal, f"SIG{text}", None)
    if isinstance(found, signal.Signals):
        return int(found)
    base, sign, offset = text[:5], text[5:6], text[6:]
    if (base, sign) in (("RTMIN", "+"), ("RTMAX", "-")) and _is_number(offset):
        number = signal.SIGRTMIN + int(offset) if sign == "+" else signal.SIGRTMAX - int(offset)
        if signal.SIGRTMIN <= number <= signal.SIGRTMAX:
            return number
    raise UsageError(f"unknown signal {name!r}: use a number or a name, see kill -l")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def deliver(anchor: Anchor, number: int, answer: Answer) -> None:
    """The anchor's side of it."""
    if not status.can_kill(anchor.status):
        answer(wire.failure(WrongStatus(f"cannot kill container {anchor.container.id!r}: container not running")))
    elif number == signal.SIGKILL:
        anchor.hurry(leaving.LET_GO)
        anchor.end(status.KILLED)
        answer({"sent": number})
    elif not anchor.step:
        if number not in _HARMLESS:
            anchor.end(128 + number)
        answer({"sent": number})
    elif number == 0:
        answer({"sent": number})
    else:
        _deliver_on_node(anchor, number, answer)


def _deliver_on_node(anchor: Anchor, number: int, answer: Answer, tries: int = _TRIES) -> None:
    container = anchor.container.id
    is_done, sender = False, 0

    def look() -> None:
        if not is_done:
            from scrun.lifecycle import suspended

            suspended.ask(anchor, put_off)

    def put_off(state: str) -> None:
        nonlocal is_done
        from scrun.lifecycle import suspended

        if state == suspended.SUSPENDED and not is_done:
            is_done = True
            os.kill(sender, signal.SIGKILL)
            suspended.deliver_later(anchor, number)
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
        anchor.loop.after(_PAUSE, lambda: _deliver_on_node(anchor, number, answer, tries - 1))
        return
    try:
        sender = send_on_node(anchor, number, done)
        anchor.loop.after(_SLOW, look)
    except ScrunError as error:
        answer(wire.failure(error))


def _answer_at_the_end(anchor: Anchor, number: int, answer: Answer, tries: int = _END_IS_HEARD) -> None:
    """The process has ended, and the container hasn't: a signal counts as sent, as one to a process nobody has reaped.

    The second Ctrl-C at a podman run comes here. An error would have podman end without the container's exit status.
    """
    if "exit_status" in anchor.record:
        answer({"sent": number})
    elif tries:
        anchor.loop.after(_PAUSE, lambda: _answer_at_the_end(anchor, number, answer, tries - 1))
    else:
        answer(wire.failure(WrongStatus(f"cannot kill container {anchor.container.id!r}: container not running")))


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
            from scrun.lifecycle import pause

            pause.go_on(anchor, lambda _exit_status, _said: None)

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


def send_on_node(anchor: Anchor, number: int, done: Callable[[int, str], None], tries: int = _TRIES) -> int:
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
        missed, why = _missed(said)
        left = progress.left()
        if missed and not any(task in left.get(name, ()) for name, task in missed):
            exit_status = 0  # they have ended meanwhile
        done(exit_status, why)

    script = node_script(anchor.record, number, tasks, tries)
    command = node.argv(anchor.record, "kill", script, nodes=[*tasks])
    return node.start(anchor.loop, command, anchor.plan["environment"], ended)


def node_script(record: dict[str, Any], number: int, tasks: Mapping[str, Sequence[int]], tries: int = _TRIES) -> str:
    """The shell script that has a node's runtime send the signal to each of the container's tasks on that node.

    ``tasks`` are their local numbers (oci.conf's %t), by node. It fails when one of them could not be reached, and
    prints which (:func:`_missed`).

    Raises:
        NodeRuntimeError: oci.conf doesn't say how.
    """
    program, name = node.runtime(record)
    alike: dict[str, list[str]] = {}  # a big job's nodes mostly have as many tasks each
    for where, numbers in tasks.items():
        alike.setdefault(" ".join(map(str, numbers)), []).append(where)
    cases = " ".join(f'{"|".join(names)}) todo="{numbers}" ;;' for numbers, names in alike.items())
    return (
        f"case $SLURMD_NODENAME in {cases} esac; try=0; while [ $try -lt {tries} ]; do left=; "
        f'for task in $todo; do said=$({program} kill "{name}" {number} 2>&1) || left="$left $task" why=$said; done; '
        f'todo=$left; [ -n "$todo" ] || exit 0; try=$((try + 1)); sleep {_PAUSE}; done; '
        f'say "{_MISSED} $SLURMD_NODENAME$todo"; say "{_WHY} $SLURMD_NODENAME: $why"; exit 1'
    )


def _missed(said: str) -> tuple[list[tuple[str, int]], str]:
    """The tasks, by node and local number, that :func:`node_script` did not reach, and why not, in one line."""
    lines = said.splitlines()
    missed = [line.split()[1:] for line in lines if line.startswith(f"{_MISSED} ")]
    why = [line.removeprefix(f"{_WHY} ") for line in lines if line and not line.startswith(f"{_MISSED} ")]
    return [(where, int(task)) for where, *tasks in missed for task in tasks], "; ".join(why[:3])
