"""events: what a container uses, from the nodes' /proc, and what Slurm says of its job.

Not from Slurm's accounting (sstat), which many a cluster doesn't keep for a job that runs.
"""

from __future__ import annotations

import os
import re
import select
from datetime import UTC, datetime

from scrun.errors import ScrunError, UsageError, WrongStatus
from scrun.identity import real_uid
from scrun.lifecycle.container import status
from scrun.lifecycle.node import members
from scrun.lifecycle.operations.list import seconds
from scrun.lifecycle.process import processes
from scrun.lifecycle.worker import ask_slurm
from scrun.slurm import srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.record import Record

    Stats = dict[str, Any]

_PATIENCE = 5.0  # seconds, for what Slurm says of the job; it isn't told where Slurm doesn't answer
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZES = " KMGTP"  # of memory; by their places powers of 1024
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")

# The two units that /proc counts in, and each process's stat on one line. A small system has no getconf(1): USER_HZ is
# 100 wherever Slurm runs, and the size of a page is in smaps.
_STAT = r"""
exec 2>/dev/null
ticks=$(getconf CLK_TCK) page=$(getconf PAGESIZE)
[ -n "$page" ] || while read -r key size rest; do
    [ "$key" != KernelPageSize: ] || { page=$((size * 1024)); break; }
done </proc/self/smaps
echo "${ticks:-100} ${page:-4096}"
find_members
for pid in $members; do
    stat=
    while IFS= read -r line || [ -n "$line" ]; do
        stat="$stat $line"
    done 2>/dev/null <"/proc/$pid/stat"
    [ -z "$stat" ] || printf '%s\n' "$stat"
done
"""
_UTIME, _STIME, _CUTIME, _CSTIME, _RSS = 11, 12, 13, 14, 21  # proc_pid_stat(5), counted behind the command


def run(container: Container, interval: float | None, tell: Callable[[Stats], None]) -> None:
    """Tell what the container uses, again and again until it has ended, or once.

    Args:
        container: one that hasn't ended.
        interval: seconds between; None for once.
        tell: takes each event.

    Raises:
        WrongStatus: it has ended, or is only being made.
        NodeRuntimeError: its nodes can't be asked.
    """
    if not status.can_watch(container.status()):
        raise WrongStatus(f"container {container.id!r} is not running: it is {container.status()}")
    try:
        process = os.pidfd_open(container.record["pid"])
    except OSError:
        return
    try:
        while processes.is_alive(container.record["pid"], container.record["pid_started"]):
            try:
                tell(event(container))
            except ScrunError:
                if status.can_watch(container.status()):
                    raise
            if interval is None or select.select([process], [], [], interval)[0]:
                return
            container.load()
    finally:
        os.close(process)


def event(container: Container) -> Stats:
    """One event in runc's form; ``data`` has the job as well, and of several nodes what is used on each."""
    record = container.record
    nodes = {}
    if record.get("step"):
        nodes = {name: usage(answer.text) for name, answer in members.ask(record, "events", _STAT).items()}
    data = total(list(nodes.values()))
    known = _ask(record)
    data["memory"]["usage"]["limit"] = limit(record, max(1, len(nodes)), known.get("tres", ""))
    data["job"] = _job(record, known)
    if len(nodes) > 1:
        data["nodes"] = nodes
    return {"type": "stats", "id": container.id, "data": data}


def usage(printed: str) -> Stats:
    """What the processes of one node use: processor time in nanoseconds, memory (resident) in bytes.

    The time of children that have ended is in that of the process that waited for them.
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


def total(each: list[Stats]) -> Stats:
    """The sum over nodes."""
    cpus = [stats["cpu"]["usage"] for stats in each]
    return _stats(
        sum(cpu["user"] for cpu in cpus),
        sum(cpu["kernel"] for cpu in cpus),
        sum(stats["memory"]["usage"]["usage"] for stats in each),
        sum(stats["pids"]["current"] for stats in each),
    )


def _stats(user: int, kernel: int, memory: int, pids: int) -> Stats:
    return {
        "cpu": {"usage": {"total": user + kernel, "kernel": kernel, "user": user}},
        "memory": {"usage": {"usage": memory}},
        "pids": {"current": pids},
    }


def limit(record: Record, count: int, tres: str = "") -> int:
    """The memory in bytes that the job has of its first ``count`` nodes; 0 where Slurm says of none.

    ``tres`` is what it was given of all its nodes, which counts where its environment doesn't tell: a partition's
    default isn't in there.
    """
    variables = dict(entry.partition("=")[::2] for entry in record.get("job_environment", ()))
    per_node, per_cpu = (variables.get(f"SLURM_MEM_PER_{what}", "") for what in ("NODE", "CPU"))
    if per_node.isdigit():
        return (int(per_node) << 20) * count
    if per_cpu.isdigit():
        return (int(per_cpu) << 20) * sum(_each(variables.get("SLURM_JOB_CPUS_PER_NODE", ""))[:count])
    given = dict(part.partition("=")[::2] for part in tres.split(",")).get("mem", "")
    number, unit = given.rstrip("KMGTP"), given[-1:]
    power = _SIZES.find(unit) if unit else -1
    return int(float(number) * 1024**power) if number.replace(".", "", 1).isdigit() and power > 0 else 0


def _each(counts: str) -> list[int]:
    """The numbers of ``2(x3),1``, as Slurm writes what several nodes have: 2, 2, 2, 1."""
    found = []
    for part in filter(None, counts.split(",")):
        number, _, times = part.rstrip(")").partition("(x")
        found += [int(number)] * int(times or 1)
    return found


def _ask(record: Record) -> Stats:
    """What Slurm says of the job; nothing where it doesn't answer."""

    def question() -> Stats:
        os.environ.update(record["environment"])
        from scrun.slurm import jobs

        return jobs.of_user(real_uid()).get(record["job"], {})

    try:
        return ask_slurm.ask(question, _PATIENCE) if record.get("job") else {}
    except ScrunError:
        return {}


def _job(record: Record, known: Stats) -> Stats:
    """The job: ``state`` and ``reason`` are Slurm's words, empty where it doesn't answer; ``elapsed`` in seconds."""
    since = record.get("started")
    return {
        "id": record.get("job"),
        "state": known.get("state", ""),
        "reason": "" if record.get("nodes") else known.get("reason", ""),
        "partition": known.get("partition", ""),
        "nodes": srun.expand_nodes(record.get("nodes", "")),
        "elapsed": int(datetime.now(UTC).timestamp() - seconds(since)) if since else 0,
    }


def interval(text: str) -> float:
    """Seconds of a duration as Go writes it (5s, 1m30s, 500ms), or of a plain number of seconds.

    Raises:
        UsageError: it is neither, or nothing.
    """
    try:
        found = float(text)
    except ValueError:
        pieces = _DURATION.findall(text)
        if "".join(number + unit for number, unit in pieces) != text:
            raise UsageError(f"interval {text!r} is no time: use e.g. 10, 10s or 1m30s") from None
        found = sum(float(number) * _UNITS[unit] for number, unit in pieces)
    if not 0 < found < 1e9:  # beyond that select(2) takes it for no time either; NaN is neither
        raise UsageError(f"interval {text!r} is no time: it must be greater than 0")
    return found
