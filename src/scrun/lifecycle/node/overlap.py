"""Run scripts on a container's nodes, in job steps that overlap with the container's own step.

A resident process starts such a step and goes on (:func:`start`); other processes wait for it (:func:`run_step`).
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


_MOST_SAID = 1 << 20  # bytes of a step's output that are read; a site's programs may print there too

_children: set[int] = set()  # pids of steps that :func:`start` began and that haven't ended


def runtime(record: Record) -> tuple[str, str]:
    """How a script calls the node's own runtime: the shell words before its verb, and the container's name in it.

    The name may have ``$task``, because each task of the job is a container of its own.

    Raises:
        NodeRuntimeError: oci.conf doesn't tell how the runtime is called.
    """
    values = {"n": "$SLURMD_NODENAME", "j": str(record["job"]), "s": str(record.get("step") or 0), "t": "$task"}
    values.update(u=str(record["user"]), U=str(record["uid"]))
    return node_runtime.command(record["runtime"], values)


def tasks(record: Record) -> str:
    """The possible values of ``$task`` on a node (oci.conf's %t), as shell words; for the node with most tasks."""
    return " ".join(map(str, range(record.get("tasks_on_a_node") or record["tasks"])))


def argv(record: Record, name: str, script: str, *words: str, nodes: Sequence[str] | None = None) -> list[str]:
    """The command line of a step that runs a shell script once on each node.

    Args:
        record: the container's.
        name: the step's name, without ``scrun-``.
        script: the script; it prints its answer with ``say`` (:mod:`scrun.marks`).
        words: the script's ``$1`` and so on, each of at most 128 KB (execve(2)).
        nodes: the nodes; None for all nodes of the job.
    """
    command = ["/bin/sh", "-c", marks.SAY + script, *(["sh", *words] if words else [])]
    return srun.command_step(record["srun"], job=record["job"], name=name, argv=command, nodes=nodes)


def environment(record: Record) -> dict[str, str]:
    """The environment of a step's srun: this process's own and create's variables, without those of a job."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(srun.OPTIONS)}
    return {**mine, **record["environment"]}


def run_step(
    record: Record, name: str, script: str, *words: str, nodes: Sequence[str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a script in a step and wait for it; the arguments are those of :func:`argv`."""
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
    """Start a step as a child of this process, and return the child's pid.

    Args:
        loop: the event loop of this process.
        command: the result of :func:`argv`.
        environment: srun's.
        done: gets the exit status and the script's answer; without an answer all that was printed, for example by srun.
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
    """Kill the steps of :func:`start` that still run: nobody waits for them any more, and srun may wait very long."""
    for pid in _children:
        os.kill(pid, signal.SIGKILL)


def reason(said: str, exit_status: int) -> str:
    """The reason why a script failed: the last line of its answer."""
    return (said.splitlines() or [f"status {exit_status}"])[-1]
