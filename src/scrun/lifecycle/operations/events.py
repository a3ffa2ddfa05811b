"""events: what a container uses, by its nodes' /proc, and what Slurm says of its job.

Slurm's accounting (sstat) is not used, because many clusters don't keep it for a job that runs.
"""

from __future__ import annotations

import os
import re
import select
from datetime import UTC, datetime

from scrun.errors import ScrunError, UsageError, WrongStatus
from scrun.identity import real_uid
from scrun.lifecycle.container import messages, node_client, status
from scrun.lifecycle.operations.list import seconds
from scrun.lifecycle.process import processes
from scrun.lifecycle.worker import ask_slurm
from scrun.node_scripts import read_script
from scrun.slurm import srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NotRequired, TypedDict

    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.record import Record
    from scrun.slurm.answers import JobState

    class Cpu(TypedDict):
        """Processor time, in nanoseconds."""

        total: int
        kernel: int
        user: int

    class CpuStats(TypedDict):
        usage: Cpu

    class Memory(TypedDict):
        """Resident memory, in bytes."""

        usage: int
        limit: NotRequired[int]  # what the job has; 0 if Slurm doesn't tell

    class MemoryStats(TypedDict):
        usage: Memory

    class Pids(TypedDict):
        current: int

    class Usage(TypedDict):
        """What a container's processes use, on one node or on all."""

        cpu: CpuStats
        memory: MemoryStats
        pids: Pids

    class JobStats(TypedDict):
        """The container's job."""

        id: int | None
        state: str  # squeue's words; empty if Slurm doesn't answer, as the next
        reason: str
        partition: str
        nodes: list[str]
        elapsed: int  # seconds since the container's start

    class Data(Usage):
        job: JobStats
        nodes: NotRequired[dict[str, Usage]]  # by node, if there are several

    class Event(TypedDict):
        """An event in runc's form, with more in ``data``."""

        type: str
        id: str
        data: Data


_ENDS_WITHIN = 5.0  # seconds that the stand-in has to end once the nodes have nothing left of the container
_PATIENCE = 5.0  # seconds that Slurm has to answer; after that its part stays empty
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZES = " KMGTP"  # units of memory: the letter at place n stands for the n-th power of 1024
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")

_STAT = read_script("process_stats")
_UTIME, _STIME, _CUTIME, _CSTIME, _RSS = 11, 12, 13, 14, 21  # proc_pid_stat(5), counted behind the command


def report_usage(container: Container, interval: float | None, tell: Callable[[Event], None]) -> None:
    """Tell what the container uses, again and again until it has ended, or once.

    Args:
        container: a container that hasn't ended.
        interval: seconds between two events; None for one event.
        tell: is called with each event.

    Raises:
        WrongStatus: the container has ended, or is only being made.
        NodeRuntimeError: the container's nodes can't be asked.
    """
    if not status.can_watch(container.status()):
        raise WrongStatus(f"cannot watch container {container.id!r}: container not running: it is {container.status()}")
    try:
        process = os.pidfd_open(container.record["pid"])
    except OSError:
        return
    try:
        while processes.is_alive(container.record["pid"], container.record["pid_started"]):
            try:
                tell(event(container))
            except ScrunError:
                # The nodes know of a container's end before this host does.
                if status.can_watch(container.status()) and not select.select([process], [], [], _ENDS_WITHIN)[0]:
                    raise
            if interval is None or select.select([process], [], [], interval)[0]:
                return
            container.load()
    finally:
        os.close(process)


def event(container: Container) -> Event:
    """Ask the container's nodes and Slurm once.

    Raises:
        NodeRuntimeError: the nodes can't be asked.
    """
    record = container.record
    nodes = {}
    if record.get("step"):
        nodes = {
            name: usage(answer.text) for name, answer in node_client.run(container, *messages.script(_STAT)).items()
        }
    of_all = total(list(nodes.values()))
    job = _look_up_job(record)
    of_all["memory"]["usage"]["limit"] = limit(record, max(1, len(nodes)), job["tres"] if job else "")
    data: Data = {**of_all, "job": _job_stats(record, job)}  # type: ignore[typeddict-item]  # "nodes" may come later
    if len(nodes) > 1:
        data["nodes"] = nodes
    return {"type": "stats", "id": container.id, "data": data}


def usage(printed: str) -> Usage:
    """What the container's processes use on one node, by what node_scripts/process_stats.sh has printed there.

    A process's time includes that of its children that have ended and that it has waited for.
    """
    units, *lines = printed.splitlines() or [""]
    words = units.split()
    ticks, page = map(int, words) if len(words) == 2 and all(map(str.isdecimal, words)) else (100, 4096)
    user = kernel = memory = 0
    for line in lines:
        fields = [int(field) if field.lstrip("-").isdigit() else 0 for field in line.rpartition(")")[2].split()]
        user += fields[_UTIME] + fields[_CUTIME]
        kernel += fields[_STIME] + fields[_CSTIME]
        memory += fields[_RSS] * page
    second = 10**9 // ticks
    return _stats(user * second, kernel * second, memory, len(lines))


def total(each: list[Usage]) -> Usage:
    """The sum over nodes."""
    cpus = [stats["cpu"]["usage"] for stats in each]
    return _stats(
        sum(cpu["user"] for cpu in cpus),
        sum(cpu["kernel"] for cpu in cpus),
        sum(stats["memory"]["usage"]["usage"] for stats in each),
        sum(stats["pids"]["current"] for stats in each),
    )


def _stats(user: int, kernel: int, memory: int, pids: int) -> Usage:
    return {
        "cpu": {"usage": {"total": user + kernel, "kernel": kernel, "user": user}},
        "memory": {"usage": {"usage": memory}},
        "pids": {"current": pids},
    }


def limit(record: Record, count: int, tres: str = "") -> int:
    """The memory in bytes that the job has on its first ``count`` nodes; 0 if Slurm doesn't tell.

    Args:
        record: the container's.
        count: the number of nodes.
        tres: the resources that the job was given on all its nodes, as squeue writes them. They count if the job's
            environment has no number, because a partition's default isn't in the environment.
    """
    variables = dict(entry.partition("=")[::2] for entry in record.get("job_environment", ()))
    per_node, per_cpu = (variables.get(f"SLURM_MEM_PER_{what}", "") for what in ("NODE", "CPU"))
    if per_node.isdigit():
        return (int(per_node) << 20) * count
    if per_cpu.isdigit():
        return (int(per_cpu) << 20) * sum(_each(variables.get("SLURM_JOB_CPUS_PER_NODE", ""))[:count])
    memory = dict(part.partition("=")[::2] for part in tres.split(",")).get("mem", "")
    number, unit = memory.rstrip("KMGTP"), memory[-1:]
    power = _SIZES.find(unit) if unit else -1
    return int(float(number) * 1024**power) if number.replace(".", "", 1).isdigit() and power > 0 else 0


def _each(counts: str) -> list[int]:
    """The numbers in ``2(x3),1``, as Slurm writes the CPUs of several nodes: 2, 2, 2, 1."""
    numbers = []
    for part in filter(None, counts.split(",")):
        number, _, times = part.rstrip(")").partition("(x")
        numbers += [int(number)] * int(times or 1)
    return numbers


def _look_up_job(record: Record) -> JobState | None:
    """The container's job as Slurm shows it; None if there is no job, or Slurm doesn't answer."""

    def question() -> JobState | None:
        os.environ.update(record["environment"])
        from scrun.slurm import jobs

        return jobs.of_user(real_uid()).get(record["job"])

    if not record.get("job"):
        return None
    try:
        return ask_slurm.ask(question, _PATIENCE)
    except ScrunError:
        return None


def _job_stats(record: Record, job: JobState | None) -> JobStats:
    since = record.get("started")
    return {
        "id": record.get("job"),
        "state": job["state"] if job else "",
        "reason": job["reason"] if job and not record.get("nodes") else "",
        "partition": job["partition"] if job else "",
        "nodes": srun.expand_nodes(record.get("nodes", "")),
        "elapsed": int(datetime.now(UTC).timestamp() - seconds(since)) if since else 0,
    }


def interval(text: str) -> float:
    """The number of seconds of a duration as Go writes it (5s, 1m30s, 500ms), or of a plain number.

    Raises:
        UsageError: the text is neither of the two, or isn't greater than 0.
    """
    try:
        duration = float(text)
    except ValueError:
        pieces = _DURATION.findall(text)
        if "".join(number + unit for number, unit in pieces) != text:
            raise UsageError(f"interval {text!r} is not a time: use e.g. 10, 10s or 1m30s") from None
        duration = sum(float(number) * _UNITS[unit] for number, unit in pieces)
    if not 0 < duration < 1e9:  # select(2) refuses larger numbers; NaN fails both comparisons
        raise UsageError(f"interval {text!r} is not a time: it must be greater than 0")
    return duration
