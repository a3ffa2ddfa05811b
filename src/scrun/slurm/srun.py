"""The command lines of srun: the container's own step, and commands beside it; and what srun says of a step.

pyslurm has no step launch, and srun brings stdio, terminal, window size and exit status with it. Nothing here runs
anything.
"""

from __future__ import annotations

import os

from scrun.errors import SlurmMissing, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

# How the variables begin that srun takes for its options: SRUN_OUTPUT would send what a step prints somewhere else.
OPTIONS = ("SLURM_", "SRUN_")

SCRIPT = "SCRUN_SCRIPT"  # the variable that brings a step's shell script to the nodes

_MOST_TASKS, _MOST_ERRORS = 1 << 20, 20


def program(settings: Mapping[str, Any], environment: Mapping[str, str]) -> list[str]:
    """srun and the arguments that oci.conf wants each call to have (SrunPath, SrunArgs).

    Raises:
        SlurmMissing: there is no srun.
    """
    named = settings.get("SrunPath")
    candidates = [named] if named else [f"{d}/srun" for d in environment.get("PATH", os.defpath).split(":") if d]
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return [candidate, *settings.get("SrunArgs", ())]
    where = f"at {named}, where oci.conf's SrunPath says it is" if named else "on PATH"
    raise SlurmMissing(f"srun is not {where}: install Slurm's commands on this host")


def component(job: object, environment: Mapping[str, str]) -> list[str]:
    """What each srun has to be told where ``job`` is the heterogeneous one in whose environment we are: its component.

    That is the first; the others' ids are none that srun takes for a job's.

    Raises:
        UsageError: ``job`` is the id of another component.
    """
    leader = environment.get("SLURM_JOB_ID", "")
    for offset in range(1, int(environment.get("SLURM_HET_SIZE") or 0)):
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
    """The step that is the container: on all of the job's nodes, or one task on ``node``.

    ``-v`` makes srun say which step it launches and when its tasks have started; ``stderr`` is the descriptor that the
    container's standard error goes to, so that srun's own words can be kept apart from it.
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
    """A command beside whatever else runs in the job: one task on each of ``nodes``, or of the job's nodes.

    ``name`` says what for, behind ``scrun-``: squeue and sacct show it as the step's name.
    """
    extra = [f"--nodelist={','.join(nodes)}", f"--nodes={len(nodes)}"] if nodes else []
    beside = ["--overlap", "--quiet", "--ntasks-per-node=1", "--mpi=none", "--export=ALL"]
    return [*srun, f"--jobid={job}", f"--job-name=scrun-{name}", *beside, *extra, "--", *argv]


def trial_step(srun: Sequence[str], *, job: int, bundle: str, args: Sequence[str], nodes: Sequence[str]) -> list[str]:
    """A container that isn't meant to run, once on each of the nodes: to see whether slurmstepd takes its bundle."""
    where = [f"--nodelist={','.join(nodes)}", f"--nodes={len(nodes)}", "--ntasks-per-node=1"]
    beside = ["--job-name=scrun-try", "--overlap", "--mpi=none", "--export=NONE", *where]
    return [*srun, "-v", f"--jobid={job}", f"--container={bundle}", *beside, "--", *args]


def exec_step(
    srun: Sequence[str], *, job: int, node: str, argv: Sequence[str], pty: bool, stderr: int | None
) -> list[str]:
    """A step of one task beside the container, with stdio of its own; ``stderr`` as for :func:`container_step`."""
    beside = ["-v", f"--jobid={job}", "--overlap", f"--nodelist={node}", "--nodes=1", "--ntasks=1", "--mpi=none"]
    if pty:
        beside.append("--pty")
    elif stderr is not None:
        beside += [f"--error=/proc/self/fd/{stderr}", "--open-mode=append"]
    return [*srun, *beside, "--job-name=scrun-exec", "--export=ALL", "--", *argv]


def by_environment(command: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The command line without the shell script in it, and the variable that has the script.

    srun sends its whole command line to slurmctld, and slurmdbd keeps it for each step (sacct's SubmitLine): 15 KB, and
    nothing that anybody looks for. A script is what has several lines: behind ``-c``, or the word after that, for a
    shell that another one becomes. Its arguments stay, unless one of them has several lines.
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
        import shlex  # and with it re: seldom

        script, words = f"set -- {shlex.join(words[1:])}\n{script}", words[:1]
    return [*command[:at], front, *words], {SCRIPT: script}


class Progress:
    """Reads what srun says (with -v) of the container's step; measured with Slurm 26.05.

    Others write to the same pipe: a program that srun runs here (SLURM_PROLOG), a SPANK plugin. So a line counts only
    when it has exactly the form of one of srun's and fits what srun has said before: tasks end that were launched.
    """

    def __init__(self) -> None:
        self.step = ""  # its number within the job, e.g. "0"
        self.tasks: dict[str, list[int]] = {}  # of each node; their places there are slurmstepd's local task ids
        self.ended: set[int] = set()
        self.cancelled = False  # from outside, by the job's end, or since a node has failed
        self.out_of_memory = False  # of some task's, which was killed for that; srun's own status is 1 then
        self.errors: list[str] = []  # until it has started
        self._starting: set[str] = set()  # nodes that have not said that their tasks run
        self._step_id = ""  # with the job's

    @property
    def started(self) -> bool:
        """Whether every node has started its tasks; the first one's may have ended by then."""
        return bool(self.tasks) and not self._starting

    @property
    def count(self) -> int:
        """How many tasks there are on all nodes."""
        return sum(map(len, self.tasks.values()))

    def most_on_a_node(self) -> int:
        """How many tasks the node has that has most of them."""
        return max(map(len, self.tasks.values()), default=0)

    def left(self) -> dict[str, list[int]]:
        """The local task ids of what has not ended, by their nodes."""
        found = {
            node: [local for local, task in enumerate(tasks) if task not in self.ended]
            for node, tasks in self.tasks.items()
        }
        return {node: tasks for node, tasks in found.items() if tasks}

    def line(self, line: str) -> str:
        """Take one line of srun's standard error; the answer is what it says of tasks that failed, mostly nothing."""
        ours, _, text = line.partition(" ")
        if ours != "srun:":
            return ""
        words = text.split(" ")
        if words[0] in ("error:", "fatal:"):
            said = text.partition(" ")[2]
            if not self.started and len(self.errors) < _MOST_ERRORS:
                self.errors.append(said)
            if said.startswith("Node failure on ") and self.tasks:
                self.cancelled = True
            return said if self._end(said) else ""
        if words[0] == "launching":
            self._launch(words)
        elif words[0] == "Node" and len(words) == 5 and words[3:] == ["tasks", "started"]:
            self._starting.discard(words[1].removesuffix(","))
        elif text.startswith("Job step aborted"):
            self.cancelled = bool(self.tasks)  # before the launch it was somebody else's
        else:
            self._end(text)
        return ""

    def _launch(self, words: list[str]) -> None:
        """``launching StepId=87.12 on host node1, 3 tasks: [0-2]``."""
        if len(words) != 8 or words[2:4] != ["on", "host"] or words[6] != "tasks:":
            return
        step_id, node, tasks = words[1].removeprefix("StepId="), words[4].removesuffix(","), _numbers(words[7])
        job, _, step = step_id.partition(".")
        if not (job and step and node and tasks) or str(len(tasks)) != words[5] or self.started:
            return
        if step_id != self._step_id:  # what was said of another step was not srun's
            self._step_id, self.step, self.tasks, self._starting = step_id, step, {}, set()
            self.ended, self.cancelled = set(), False
        self.tasks[node] = tasks
        self._starting.add(node)

    def _end(self, text: str) -> bool:
        """``node1: tasks 0,2-4: Completed``; whether the line is of that form, and tells of tasks there are."""
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
    """The numbers of ``0,2-4``, with brackets or without; none where the text is not of that form."""
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
    """The names of a Slurm node list (hostlist), in order: no name resolution, no I/O.

    Several bracketed parts in one name, and zero padding (``n[001-010]``), are as slurm.conf(5) has them.
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
    """Cut at the commas that are not within brackets."""
    parts, depth, current = [], 0, ""
    for character in nodes:
        depth += (character == "[") - (character == "]")
        if character == "," and not depth:
            parts.append(current)
            current = ""
        else:
            current += character
    return [part for part in [*parts, current] if part]
