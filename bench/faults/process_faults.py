"""SIGKILL, or scancel, for one of the processes of a container, at five times in its life."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

from integration import slurm
from integration.processes import descendants, is_running
from integration.users import User

from . import scene
from .report import LONGEST, Cell
from .subjects import LIMIT, ON_NODE, SIZE, WHO, Call, Subject, make

WHEN = ("waiting", "created", "running", "asleep", "ending")
WITH_PARENT = ("parent", "all three")
VICTIMS = ("anchor", "stand-in", "both", "srun", "worker", "parent", "all three", "scancel")
PROGRAM = "trap 'exit 42' TERM; : faults-mark; echo ready; while :; do sleep 0.1; done"
WRITES = f"head -c {SIZE} /dev/urandom >/data/big; sha256sum </data/big >/data/sum; exit 7"
NOT_THERE = {
    ("srun", "waiting"): "there is no srun yet",
    ("srun", "created"): "there is no srun yet",
    ("worker", "created"): "no worker is there then",
    ("worker", "running"): "no worker is there then",
    ("worker", "asleep"): "no worker is there then",
}


class Missed(Exception):
    """The moment, or the process, was not there."""


def cells() -> Iterator[tuple[str, Callable[[], Cell]]]:
    """The cells' names, and what makes each."""
    for when in WHEN:
        for victim in VICTIMS:
            for who in WHO:
                name = f"{victim}/{when}/{who}"
                yield name, lambda name=name: try_one(name)  # type: ignore[misc]


def try_one(name: str) -> Cell:
    """Make one cell."""
    victim, when, who = name.split("/")
    cell = Cell(name)
    if cell_why := NOT_THERE.get((victim, when), ""):
        cell.why = cell_why
        return cell
    if when == "created" and (who == "docker" or (who == "by hand" and victim in WITH_PARENT)):
        cell.why = "docker has no created containers" if who == "docker" else "nobody waits for it"
        return cell
    if when == "asleep" and who == "by hand":
        cell.why = "scrun run stays, and its anchor awake"
        return cell
    before, subject = scene.survey(), make(who)
    began = time.monotonic()
    try:
        _carry_out(cell, subject, victim, when, before)
        cell.left = scene.left_since(before)
    except Missed as missed:
        cell.wrong.append(f"missed: {missed}")
        subject.remove()
        cell.left = scene.left_since(before)
    finally:
        if not cell.left:
            subject.remove()
        cell.took = time.monotonic() - began
        judge_leaks(cell, subject)
        subject.clean()
        if not cell.left or any(cell.left.values()):
            scene.clean(before)
    return cell


def judge_leaks(cell: Cell, subject: Subject) -> None:
    """Say what was left, and what took too long."""
    for kind, left in cell.left.items():
        cell.wrong += [f"{kind} left: {one}" for one in left[:4]]
    longest = max(subject.calls, key=lambda call: call.seconds, default=None)
    if longest:
        cell.longest, cell.command = longest.seconds, longest.verb
    for call in subject.calls:
        if call.seconds > (cell.limit or LONGEST):
            cell.wrong.append(f"{call.seconds:.0f} s{' (hung, killed)' if call.hung else ''} for {call.verb}")


def _carry_out(cell: Cell, subject: Subject, victim: str, when: str, before: scene.Left) -> None:
    held = hold() if when == "waiting" else 0
    try:
        waiting = _bring_to(subject, when)
        for call in subject.calls:
            call.mark()
        job = subject.record.get("job", 0)
        strike(subject, victim)
        if when == "created":
            if victim == "scancel":
                _until(lambda: not scene.new_jobs(before), 30)
            started = subject.start()
            cell.right = "start fails"
            if not started:
                cell.right, cell.status = "not 0", subject.status(subject.wait(), 40)
            else:
                cell.status = started
            if cell.status == 0:
                cell.wrong.append("status 0")
        elif when == "waiting":
            cell.right, cell.status = "not 0", waiting.end(LIMIT)
            if cell.status == 0:  # it was created; what Slurm says later ends it
                cell.status = subject.status(subject.wait(), 40)
            if cell.status == 0:
                cell.wrong.append("status 0")
        else:
            _judge_status(cell, subject, victim, when)
        if victim in ("both", "all three"):
            subject.another()  # what docs/reliability.md promises: it has lost jobs ended
        if victim != "parent" or subject.who == "by hand":
            _until(lambda: not scene.new_jobs(before) - {held}, 60 if when == "ending" else 15)  # files take their time
            cell.wrong += [f"job {job} runs on until rm" for job in scene.new_jobs(before) - {held}]
        said = subject.said()  # its log goes with it
        if subject.remove() and not (subject.who == "by hand" and when in ("waiting", "running", "ending")):
            cell.wrong.append(f"rm failed: {subject.calls[-1].said.strip()[-200:]}")
        if when == "ending":
            _judge_files(cell, subject, job, said + subject.said())
            scene.forget_kept(job)
    finally:
        if held:
            slurm.release(held)


def hold() -> int:
    """A job that has the node for itself, so that others wait."""
    return slurm.allocate(User("root"), "--exclusive", f"--nodelist={ON_NODE}")


def _until(condition: Callable[[], object], limit: float) -> bool:
    until = time.monotonic() + limit
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _bring_to(subject: Subject, when: str) -> Call:
    """Have the container at that time in its life."""
    if when == "created":
        if not subject.create(PROGRAM):
            raise Missed(f"it was not created: {subject.said().strip()[-200:]}")
        return subject.calls[-1]
    call = subject.run(WRITES if when == "ending" else PROGRAM)
    reached = {
        "waiting": lambda: subject.record.get("job"),
        "running": lambda: _runs(subject),
        "asleep": lambda: _runs(subject) and all(_is_asleep(subject.record[who]) for who in ("anchor", "pid")),
        "ending": lambda: _is_ending(subject.record),
    }[when]
    if not _until(reached, 60):
        raise Missed(f"it was never {when}: {subject.record.get('status')} {subject.said().strip()[-200:]}")
    return call


def _runs(subject: Subject) -> bool:
    return subject.record.get("status") == "running" and "ready" in subject.output()


def _is_asleep(pid: int) -> bool:
    """Whether scrun-wait is in the process's place."""
    try:
        return os.readlink(f"/proc/{pid}/exe").endswith("/scrun-wait")
    except OSError:
        return False


def _is_ending(record: dict[str, Any]) -> bool:
    """Whether its program has ended, as the record says by then, and files come back."""
    return bool("exit_status" in record and record.get("stage_out_owed") and is_running(record["anchor"]))


def strike(subject: Subject, victim: str) -> None:
    """The fault."""
    record = subject.record
    if victim == "scancel":
        subprocess.run(["scancel", str(record["job"])], check=True, timeout=30)
        return
    anchor, stand_in = record.get("anchor", 0), record.get("pid", 0)
    if victim == "srun":
        _until(lambda: _sruns(anchor), 10)  # that of stage_out begins a moment later
    children, sruns = descendants(anchor) if anchor else set(), _sruns(anchor)
    parents = subject.parents() if victim in WITH_PARENT else []
    pids = {
        "anchor": [anchor],
        "stand-in": [stand_in],
        "both": [anchor, stand_in],
        "srun": sruns,
        "worker": [pid for pid in children if _parent(pid) == anchor and pid not in sruns],
        "parent": parents,
        "all three": [*parents, anchor, stand_in],
    }[victim]
    if not pids or not all(pids) or (victim in WITH_PARENT and not parents):
        raise Missed(f"there was no {victim}")
    if victim in ("both", "all three"):
        os.kill(stand_in, signal.SIGSTOP)  # it doesn't see the anchor's end
    struck = 0
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # the second of srun's two goes with the first
            os.kill(pid, signal.SIGKILL)
            struck += 1
    if not struck:
        raise Missed(f"the {victim} had gone")


def _sruns(anchor: int) -> list[int]:
    lines = scene.command_lines()
    return [pid for pid in descendants(anchor) if "srun" in lines.get(pid, "").partition(" ")[0]]


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _judge_status(cell: Cell, subject: Subject, victim: str, when: str) -> None:
    if victim in WITH_PARENT and subject.who == "by hand":
        cell.right = "nobody is there to see it"
        subject.wait().end(20)
        return
    if when in ("running", "asleep"):
        right = {42, 137, 143} if victim == "scancel" else {137}
    else:
        right = {7, 137} if victim in ("stand-in", "both") else {7}
    if victim in WITH_PARENT:
        # Nobody reaps the container's process: the engine makes a status up, and the container may run on.
        cell.right = "not 0"
        cell.status = subject.status(subject.wait(), 10)
        if cell.status == 0:
            cell.wrong.append("status 0")
        subject.calls[-1].hung = False
        return
    cell.right = " or ".join(map(str, sorted(right)))
    status = subject.status(subject.wait(), 60)
    cell.status = 128 - status if status is not None and status < 0 else status
    if cell.status not in right:
        cell.wrong.append(f"status {cell.status}, not {cell.right}")


def _judge_files(cell: Cell, subject: Subject, job: int, said: str) -> None:
    """What the container wrote is here, or it is kept where somebody was told."""
    data = subject.directory / "data"
    big, total = data / "big", data / "sum"

    def is_back() -> bool:
        if not (big.exists() and total.exists() and big.stat().st_size == SIZE):
            return False
        done = subprocess.run(["sha256sum", str(big)], capture_output=True, text=True, check=True)
        return done.stdout.split()[0] == total.read_text().split()[0]

    if _until(is_back, 10):
        cell.files = "back"
        return
    if cell.name.startswith("scancel/") and "bringing back container" in said:
        cell.files = "given up, said"  # with the job, as docs/scrun-lua.md says
        return
    kept = scene.kept_on_nodes(job, SIZE)
    named = [one for one in kept if any(part in said for part in one.split("/")[3:4])]
    cell.files = "kept" if named else "kept, not said" if kept else "lost"
    if not named:
        cell.wrong.append(f"files {cell.files}{': ' + kept[0] if kept else ''}")
