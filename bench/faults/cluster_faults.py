"""Faults of the cluster, while podman, docker and a person run a container each; all three are one fault's cells."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import hosts, scene
from .process_faults import judge_leaks
from .report import Cell
from .subjects import ON_NODE, WHO, Subject, make

RUNS = 12  # seconds from a container's first word to its end with 7
PROGRAM = ": faults-mark; trap 'exit 42' TERM; echo ready; sleep {runs}; exit 7"
READY = 60.0
KILLED = {42, 137, 143}


def _nothing(*_: object) -> None:
    """Nothing to do."""


@dataclass(frozen=True)
class Fault:
    """What happens, how it is undone, and what a container's end then should be.

    ``begin`` gets the containers' jobs. The containers end ``RUNS`` seconds after they have begun, so in the middle of
    a fault of that ``length``. Only what is waited for afterwards counts.
    """

    begin: Callable[[list[int]], object]
    end: Callable[[], object]
    length: float
    right: frozenset[int]
    asks_status: bool = True
    answers_meanwhile: bool = True
    runs: int = RUNS
    limit: float = 0.0  # seconds that a command may take, where Slurm itself takes longer than 30, and why
    why: str = ""
    prepare: Callable[[], object] = _nothing
    tidy: Callable[[], object] = _nothing


def cells() -> Iterator[tuple[str, Callable[[], list[Cell]]]]:
    """The faults' names, and what makes the cells of each."""
    for name in FAULTS:
        yield f"{name}/running/", lambda name=name: try_one(name)  # type: ignore[misc]


def try_one(name: str) -> list[Cell]:
    """Try one fault on three containers."""
    fault, before, began = FAULTS[name], scene.survey(), time.monotonic()
    fault.prepare()
    subjects = [make(who) for who in WHO]
    right = " or ".join(map(str, sorted(fault.right)))
    found = [Cell(f"{name}/running/{who}", right=right, limit=fault.limit, why=fault.why) for who in WHO]
    for one in subjects:
        one.run(PROGRAM.format(runs=fault.runs))
    for one, cell in zip(subjects, found, strict=True):
        if not _wait_for(lambda one=one: "ready" in one.output(), READY):  # type: ignore[misc]
            cell.wrong.append(f"it didn't start: {one.said().strip()[-200:]}")
    waiting = [one.wait() for one in subjects]
    jobs = {one.who: one.record.get("job", 0) for one in subjects}
    struck = time.monotonic()
    fault.begin(list(jobs.values()))
    if fault.answers_meanwhile:
        for one in subjects:
            one.look()
    time.sleep(max(0.0, struck + fault.length - time.monotonic()))
    fault.end()
    for call in waiting:
        call.mark()
    for one, cell, call in zip(subjects, found, waiting, strict=True):
        if fault.asks_status:
            _judge_status(cell, fault, one.status(call, 60))
        else:
            cell.right = "nobody is there to see it"
    _remove(name, subjects, found)
    left = scene.left_since(before)
    for one, cell in zip(subjects, found, strict=True):
        _share_out(cell, one, left, jobs)
        cell.took = time.monotonic() - began
        one.clean()
    if any(left.values()):
        scene.clean(before)
    fault.tidy()
    return found


def _judge_status(cell: Cell, fault: Fault, status: int | None) -> None:
    cell.status = 128 - status if status is not None and status < 0 else status
    if cell.status not in fault.right:
        cell.wrong.append(f"status {cell.status}, not {cell.right}")


def _remove(name: str, subjects: list[Subject], found: list[Cell]) -> None:
    if name == "login reboots":
        # What docs/reliability.md promises: the user's next container has them ended.
        for one in subjects:
            one.another()
    for one, cell in zip(subjects, found, strict=True):
        if one.remove() and one.who != "by hand":
            cell.wrong.append(f"rm failed: {one.calls[-1].said.strip()[-200:]}")


def _share_out(cell: Cell, one: Subject, left: scene.Left, jobs: dict[str, int]) -> None:
    """Each line of what is left to the cell that it is of; what is nobody's to the last of them."""

    def whose(line: str) -> str:
        # A container's name on a node ends in JOB.STEP.TASK: a step may have the number of another job.
        ends = {who: rf"^{job} |\.{job}\.\d+\.\d+\b" for who, job in jobs.items() if job}
        found = [who for who, pattern in ends.items() if re.search(pattern, line)]
        if one.name in line or (one.directory_name and one.directory_name in line):
            found = [one.who]
        return (found or [WHO[-1]])[0]

    cell.left = {kind: [line for line in lines if whose(line) == one.who] for kind, lines in left.items()}
    judge_leaks(cell, one)


def _wait_for(condition: Callable[[], object], limit: float) -> bool:
    until = time.monotonic() + limit
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def _scontrol(*words: str) -> None:
    subprocess.run(["scontrol", *words], check=False, timeout=30, capture_output=True)


def _kill_slurmstepds(jobs: list[int]) -> None:
    pattern = "|".join(f"{job}[.][0-9]+" for job in jobs)
    hosts.on_node(f"pkill -KILL -f 'slurmstepd: .({pattern}).'")


def _requeue(jobs: list[int]) -> None:
    for job in jobs:
        _scontrol("requeue", str(job))


def _lose_node(_: list[int]) -> None:
    hosts.on_node_later(hosts.DIE)
    time.sleep(3)
    _scontrol("update", f"nodename={ON_NODE}", "state=down", "reason=faults")  # as slurmctld does after SlurmdTimeout


def _end_drain() -> None:
    _scontrol("update", f"nodename={ON_NODE}", "state=resume")


SEVEN = frozenset({7})
FAULTS = {
    "slurmctld is down": Fault(lambda _: hosts.kill("slurmctld"), hosts.start_slurmctld, 20, SEVEN),
    "slurmctld forgets": Fault(
        lambda _: hosts.kill("slurmctld"), lambda: hosts.start_slurmctld("-c"), 5, frozenset(KILLED | {7})
    ),
    "slurmd dies": Fault(lambda _: hosts.on_node_later("pkill -KILL -x slurmd; sleep 15; slurmd"), _nothing, 20, SEVEN),
    "slurmstepd dies": Fault(_kill_slurmstepds, _nothing, 14, frozenset(KILLED | {7}), asks_status=False),
    "munged dies": Fault(lambda _: hosts.kill("munged"), hosts.start_munged, 18, SEVEN),
    "node is gone": Fault(_lose_node, hosts.wait_for_node, hosts.GONE + 4, frozenset({137, 143})),
    "link is cut for 30 s": Fault(
        lambda _: hosts.later(f"ip link set eth0 down; sleep 30; ip link set eth0 up; {hosts.ROUTE}"),
        _nothing,
        *(31, SEVEN),
        limit=75,
        why="so it is with srun alone: slurmstepd's next try",
    ),
    "login's disk is full": Fault(
        hosts.fill, hosts.empty, 14, SEVEN, prepare=hosts.make_small_roots, tidy=hosts.remove_small_roots
    ),
    "node's disk is full": Fault(lambda _: hosts.on_node(hosts.FILL), lambda: hosts.on_node(hosts.EMPTY), 14, SEVEN),
    "node is drained": Fault(
        lambda _: _scontrol("update", f"nodename={ON_NODE}", "state=drain", "reason=faults"), _end_drain, 14, SEVEN
    ),
    "job is requeued": Fault(_requeue, _nothing, 14, frozenset(KILLED | {7})),
    "login reboots": Fault(
        lambda _: hosts.reboot_login(),
        hosts.boot_login,
        20,
        frozenset(),
        asks_status=False,
        answers_meanwhile=False,
        runs=1000,
    ),
}
