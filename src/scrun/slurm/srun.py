"""srun's command lines for the container's step and for commands beside it, and srun's messages about a step.

pyslurm can't launch steps, and srun brings stdio, terminal, window size and exit status. Nothing here starts a process.
"""

from __future__ import annotations

import os

from scrun.errors import SlurmMissing, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, TypedDict

    class ProgressState(TypedDict):
        """A :class:`Progress` of a step that has started."""

        step: str
        tasks: dict[str, list[int]]
        ended: list[int]
        cancelled: bool
        out_of_memory: bool
        errors: list[str]
        step_id: str


# Beginnings of the variables that srun takes as options; SRUN_OUTPUT, for example, would redirect a step's output.
OPTIONS = ("SLURM_", "SRUN_")

SCRIPT = "SCRUN_SCRIPT"  # the variable that brings a step's shell script to the nodes

_MOST_TASKS, _MOST_ERRORS = 1 << 20, 20


def srun_command(settings: Mapping[str, Any], environment: Mapping[str, str]) -> list[str]:
    """srun's path and its first arguments, as oci.conf sets them (SrunPath, SrunArgs).

    Raises:
        SlurmMissing: srun isn't installed.
    """
    named = settings.get("SrunPath")
    candidates = [named] if named else [f"{d}/srun" for d in environment.get("PATH", os.defpath).split(":") if d]
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return [candidate, *settings.get("SrunArgs", ())]
    where = f"at {named}, where oci.conf's SrunPath says it is" if named else "on PATH"
    raise SlurmMissing(f"srun is not {where}: install Slurm's commands on this host")


def component(job: object, environment: Mapping[str, str]) -> list[str]:
    """srun's option for a heterogeneous ``job`` in whose environment scrun runs: its first component; empty otherwise.

    srun doesn't accept the ids of the other components as a job's.

    Raises:
        UsageError: ``job`` is the id of another component.
    """
    leader = environment.get("SLURM_JOB_ID", "")
    size = environment.get("SLURM_HET_SIZE", "")
    for offset in range(1, int(size) if size.isascii() and size.isdigit() and len(size) < 10 else 0):
        if str(job) == environment.get(f"SLURM_JOB_ID_HET_GROUP_{offset}"):
            raise UsageError(
                f"job {job} is component {offset} of the heterogeneous job {leader}: a container runs in the first "
                f"component only: use SLURM_JOB_ID={leader}, or a job of its own"
            )
    return ["--het-group=0"] if str(job) == leader and environment.get("SLURM_HET_SIZE") else []


def container_step(
    srun: Sequence[str],
    *,
    job: int,
    bundle: str,
    container_id: str,
    args: Sequence[str],
    pty: bool,
    stderr: int | None,
    open_mode: str = "append",
    node: str = "",
) -> list[str]:
    """The command line of the container's own step, on all of the job's nodes, or as one task on ``node``.

    ``-v`` makes srun tell which step it launches and when its tasks have started. The container's standard error goes
    to the descriptor ``stderr``, so that it is kept apart from srun's own messages.
    """
    argv = [*srun, "-v", f"--jobid={job}", f"--container={bundle}", f"--container-id={container_id}", "--export=NONE"]
    if pty:
        argv.append("--pty")
    elif stderr is not None:
        argv += [f"--error=/proc/self/fd/{stderr}", f"--open-mode={open_mode}"]
    if node:
        argv += [f"--nodelist={node}", "--nodes=1", "--ntasks=1"]
    return [*argv, "--", *args]


def command_step(
    srun: Sequence[str], *, job: int, name: str, argv: Sequence[str], nodes: Sequence[str] | None = None
) -> list[str]:
    """The command line of a step beside the container: one task on each of ``nodes``, or on all of the job's nodes.

    squeue and sacct show ``scrun-NAME`` as the step's name.
    """
    extra = [f"--nodelist={','.join(nodes)}", f"--nodes={len(nodes)}"] if nodes else []
    beside = ["--overlap", "--quiet", "--ntasks-per-node=1", "--mpi=none", "--export=ALL"]
    return [*srun, f"--jobid={job}", f"--job-name=scrun-{name}", *beside, *extra, "--", *argv]


def trial_step(srun: Sequence[str], *, job: int, bundle: str, args: Sequence[str], nodes: Sequence[str]) -> list[str]:
    """The command line of a container step that tries whether slurmstepd on each node takes a bundle; nothing runs."""
    where = [f"--nodelist={','.join(nodes)}", f"--nodes={len(nodes)}", "--ntasks-per-node=1"]
    beside = ["--job-name=scrun-try", "--overlap", "--mpi=none", "--export=NONE", *where]
    return [*srun, "-v", f"--jobid={job}", f"--container={bundle}", *beside, "--", *args]


def by_environment(command: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Move the shell script of a command line into a variable; return the command line and the variable.

    srun sends its whole command line to slurmctld, and slurmdbd keeps it for each step (sacct's SubmitLine). A script
    has 15 KB, which nobody looks for there. The script is the word with several lines after ``-c``, or the next word if
    the shell executes another shell. Its arguments stay, unless one of them has several lines.
    """
    at = command.index("--") + 3
    front, *words = command[at:]
    if "\n" in front:
        script, front = front, f'eval "${SCRIPT}"'
    elif words and "\n" in words[0]:
        script, *words = words
        front = front.replace('"$0"', f'"${SCRIPT}" "$0"')
    else:
        return [*command], {}
    if any("\n" in word for word in words[1:]):
        import shlex  # it imports re; seldom needed

        script, words = f"set -- {shlex.join(words[1:])}\n{script}", words[:1]
    return [*command[:at], front, *words], {SCRIPT: script}


class Progress:
    """The progress of the container's step, read from srun's messages (with -v, measured with Slurm 26.05).

    Others write to the same pipe: a program that srun runs here (SLURM_PROLOG), or a SPANK plugin. So a line counts
    only if it has exactly the form of srun's and fits srun's earlier messages: only launched tasks can end.
    """

    def __init__(self, kept: ProgressState | None = None) -> None:
        self.step = ""  # the step's number in the job, e.g. "0"
        self.tasks: dict[str, list[int]] = {}  # task ids by node; an id's index is slurmstepd's local task id
        self.ended: set[int] = set()  # ids of ended tasks
        self.cancelled = False  # by somebody, by the job's end, or because a node failed
        self.out_of_memory = False  # whether some task was killed for want of memory; srun's own status is 1 then
        self.errors: list[str] = []  # srun's errors before the step started
        self._starting: set[str] = set()  # nodes whose tasks have not started yet
        self._step_id = ""  # JOB.STEP
        if kept:
            self.step, self.tasks, self.ended = kept["step"], kept["tasks"], {*kept["ended"]}
            self.cancelled, self.out_of_memory = kept["cancelled"], kept["out_of_memory"]
            self.errors, self._step_id = kept["errors"], kept["step_id"]

    def keep(self) -> ProgressState:
        """What has been read of a step that has started, for another object of this class."""
        return {
            "step": self.step,
            "tasks": self.tasks,
            "ended": sorted(self.ended),
            "cancelled": self.cancelled,
            "out_of_memory": self.out_of_memory,
            "errors": self.errors,
            "step_id": self._step_id,
        }

    @property
    def started(self) -> bool:
        """Whether every node has started its tasks; some tasks may have ended already."""
        return bool(self.tasks) and not self._starting

    @property
    def count(self) -> int:
        """The number of tasks on all nodes."""
        return sum(map(len, self.tasks.values()))

    def most_on_a_node(self) -> int:
        """The number of tasks on the node that has most."""
        return max(map(len, self.tasks.values()), default=0)

    def left(self) -> dict[str, list[int]]:
        """The local ids of tasks that have not ended, by node."""
        by_node = {
            node: [local for local, task in enumerate(tasks) if task not in self.ended]
            for node, tasks in self.tasks.items()
        }
        return {node: tasks for node, tasks in by_node.items() if tasks}

    def line(self, line: str) -> str:
        """Read one line of srun's standard error; return srun's message about failed tasks, usually ""."""
        ours, _, text = line.partition(" ")
        if ours != "srun:":
            return ""
        words = text.split(" ")
        if words[0] in ("error:", "fatal:"):
            message = text.partition(" ")[2]
            if not self.started and len(self.errors) < _MOST_ERRORS:
                self.errors.append(message)
            if message.startswith("Node failure on ") and self.tasks:
                self.cancelled = True
            return message if self._end(message) else ""
        if words[0] == "launching":
            self._launch(words)
        elif words[0] == "Node" and len(words) == 5 and words[3:] == ["tasks", "started"]:
            self._starting.discard(words[1].removesuffix(","))
        elif text.startswith("Job step aborted"):
            self.cancelled = bool(self.tasks)  # before the launch the line was not srun's
        else:
            self._end(text)
        return ""

    def _launch(self, words: list[str]) -> None:
        """Read ``launching StepId=87.12 on host node1, 3 tasks: [0-2]``."""
        if len(words) != 8 or words[2:4] != ["on", "host"] or words[6] != "tasks:":
            return
        step_id, node, tasks = words[1].removeprefix("StepId="), words[4].removesuffix(","), _numbers(words[7])
        job, _, step = step_id.partition(".")
        if not (job and step and node and tasks) or str(len(tasks)) != words[5] or self.started:
            return
        if step_id != self._step_id:  # earlier lines about another step were not srun's
            self._step_id, self.step, self.tasks, self._starting = step_id, step, {}, set()
            self.ended, self.cancelled = set(), False
        self.tasks[node] = tasks
        self._starting.add(node)

    def _end(self, text: str) -> bool:
        """Read ``node1: tasks 0,2-4: Completed``; False if the line has another form, or names unknown tasks."""
        node, _, rest = text.partition(": ")
        which, _, how = rest.partition(": ")
        kind, _, ranges = which.partition(" ")
        if kind not in ("task", "tasks") or not how:
            return False
        there = {node: self.tasks[node]} if node in self.tasks else self.tasks if "[" in node else {}
        ended = {*_numbers(ranges)}
        if not ended or not ended <= {task for tasks in there.values() for task in tasks}:
            return False
        self.ended |= ended
        self.out_of_memory = self.out_of_memory or how == "Out Of Memory"
        return True


def _numbers(ranges: str) -> list[int]:
    """The numbers in ``0,2-4``, with brackets or without; empty if the text has another form."""
    numbers: list[int] = []
    for item in ranges.strip("[]").split(","):
        low, dash, high = item.partition("-")
        if not (low.isascii() and low.isdigit() and len(low) < 10):
            return []
        if dash and not (high.isascii() and high.isdigit() and len(high) < 10):
            return []
        first, last = int(low), int(high if dash else low)
        if last < first or last - first + len(numbers) >= _MOST_TASKS:
            return []
        numbers += range(first, last + 1)
    return numbers


def expand_nodes(nodes: str) -> list[str]:
    """The names of a Slurm node list (hostlist), in order, without name resolution and I/O.

    A name may have several bracketed parts, and zero padding (``n[001-010]``), as in slurm.conf(5).
    """
    out: list[str] = []
    for part in _split(nodes):
        prefix, bracket, rest = part.partition("[")
        if not bracket:
            out.append(part)
        else:
            ranges, _, suffix = rest.partition("]")
            tails = expand_nodes(suffix) if suffix else [""]
            for item in ranges.split(","):
                low, dash, high = item.partition("-")
                for number in range(int(low), int(high if dash else low) + 1):
                    out += [f"{prefix}{number:0{len(low)}d}{tail}" for tail in tails]
    return out


def _split(nodes: str) -> list[str]:
    """Split a node list at the commas outside brackets."""
    parts, depth, current = [], 0, ""
    for character in nodes:
        depth += (character == "[") - (character == "]")
        if character == "," and not depth:
            parts.append(current)
            current = ""
        else:
            current += character
    return [part for part in [*parts, current] if part]
