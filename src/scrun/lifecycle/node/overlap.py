"""On the node, beside the container: steps that overlap with its own, and the node's own runtime in them.

What stays with a container starts such steps and goes on (:func:`start`); other verbs wait for them (:func:`run`).
"""

from __future__ import annotations

import os
import signal

from scrun import marks
from scrun.lifecycle.process import fork
from scrun.slurm import node_runtime, srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence

    from scrun.lifecycle.container.record import Record
    from scrun.lifecycle.process.loop import Loop


_MOST_SAID = 1 << 20  # bytes of what a step of the anchor's prints that are looked at: a site's words are among them

_children: set[int] = set()  # of start, that haven't been reaped


def runtime(record: Record) -> tuple[str, str]:
    """The node's own runtime, as shell words: what comes before its verb, and the container's name there.

    The name holds ``$task``: each task of the job is a container of its own.

    Raises:
        NodeRuntimeError: oci.conf doesn't say how it is called.
    """
    values = {"n": "$SLURMD_NODENAME", "j": str(record["job"]), "s": str(record.get("step") or 0), "t": "$task"}
    values.update(u=str(record["user"]), U=str(record["uid"]))
    return node_runtime.command(record["runtime"], values)


def tasks(record: Record) -> str:
    """What ``$task`` may be on a node, as shell words: the tasks' numbers there (oci.conf's %t), where most are."""
    return " ".join(map(str, range(record.get("tasks_on_a_node") or record["tasks"])))


def argv(record: Record, name: str, script: str, *words: str, nodes: Sequence[str] | None = None) -> list[str]:
    """The command line of a step that runs the shell script once on each of the nodes, or of the job's nodes.

    ``name`` is the step's (:func:`scrun.slurm.srun.command_step`). The script says with ``say`` what is to be heard of
    it (:mod:`scrun.marks`).
    ``words`` are the script's ``$1`` and so on; one may have 128 KB (execve(2)).
    """
    command = ["/bin/sh", "-c", marks.SAY + script, *(["sh", *words] if words else [])]
    return srun.command_step(record["srun"], job=record["job"], name=name, argv=command, nodes=nodes)


def environment(record: Record) -> dict[str, str]:
    """The environment of such a step: ours, and what engines don't give to every call, but no job's."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(srun.OPTIONS)}
    return {**mine, **record["environment"]}


def run(
    record: Record, name: str, script: str, *words: str, nodes: Sequence[str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run the script in such a step, and wait for it; what it prints is in the answer."""
    import subprocess

    command, brought = srun.by_environment(argv(record, name, script, *words, nodes=nodes))
    return subprocess.run(
        command,
        env={**environment(record), **brought},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )


def start(loop: Loop, command: list[str], environment: dict[str, str], done: Callable[[int, str], None]) -> int:
    """Run the command as a child of a process that goes on; ``done`` gets its exit status and what it said.

    That is what the script has said; where it has said nothing, whatever else was printed, srun's words for example.
    The result is its pid.
    """
    printed = os.memfd_create("node")
    command, brought = srun.by_environment(command)
    environment = {**environment, **brought}
    ends = (signal.SIGCHLD, signal.SIGPIPE, signal.SIGTERM, signal.SIGINT)
    stdio = (fork.QUIET, printed, printed)
    pid = fork.child(lambda: fork.execute(command, environment), stdio=stdio, keep=(), default=ends)

    def ended(exit_status: int) -> None:
        _children.discard(pid)
        read = os.pread(printed, _MOST_SAID, 0)
        os.close(printed)
        done(exit_status, "\n".join(marks.texts(read)) or read.decode("utf-8", "replace").strip())

    _children.add(pid)
    loop.child(pid, ended)
    return pid


def end_rest() -> None:
    """End what :func:`start` began and nobody waits for any more: srun may wait for a step for as long as the job."""
    for pid in _children:
        os.kill(pid, signal.SIGKILL)


def reason(said: str, exit_status: int) -> str:
    """Why a script failed: the last line of what it said."""
    return (said.splitlines() or [f"status {exit_status}"])[-1]
