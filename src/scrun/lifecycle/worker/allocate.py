"""Get the container its job: ask Slurm for one and wait until it has nodes, or find the one that was named.

It says that there is a job as soon as that has an id. Where nobody hears it any more the anchor was killed: then the
job is cancelled, as nobody else knows of it.
"""

from __future__ import annotations

import os
import select
import signal
import time

from scrun import identity
from scrun.errors import JobRefused
from scrun.lifecycle.container import origin
from scrun.lifecycle.container.directory import JOB
from scrun.lifecycle.container.worker_messages import to_allocate
from scrun.lifecycle.process import wire
from scrun.lifecycle.worker.cancel import Cancelled, cancelled
from scrun.slurm import allocation, control, job_environment, srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.worker_messages import Allocate, FromAllocate

FIRST_PAUSE, LONGEST_PAUSE, LONGEST_WAIT = 0.05, 2.0, 30.0  # seconds


def run(channel: int, container: Container) -> None:
    """Serve one order."""
    order = wire.Reader(channel).next(to_allocate)
    if not order:
        return
    plan = order["plan"]
    if order["look_at"]:
        _look(channel, order["look_at"], order)
        return
    if "existing" in plan:
        _say(channel, {"job": plan["existing"]})
        _wait(channel, plan["existing"], order)
        return
    root, anchor = os.path.dirname(container.path), os.getppid()
    plan["request"]["descriptor"]["container_id"] = origin.mark(container.id, root, anchor)
    answer = None
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # _tell sees it
    try:
        # A SIGTERM that came while Slurm was asked would be raised before the answer is kept, and its job be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        said = _printed()
        try:
            answer = allocation.ask_for_job(plan["request"])
        except JobRefused as error:
            raise _explained(error, _printed()[len(said) :], plan["request"]) from error
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        _write_down(answer["job"], container)
        _tell(channel, {"job": answer["job"]})
        if notice := answer.get("notice"):
            _tell(channel, {"notice": notice})
        if answer["nodes"]:
            _say_nodes(channel, answer, order)
        else:
            _wait(channel, answer["job"], order)
    except (Cancelled, Exception):
        if answer:
            control.cancel(answer["job"])
        raise


def _printed() -> str:
    """What libslurm has printed in this worker: it has no other way to pass on the words that go with an error."""
    try:
        return os.pread(2, 1 << 16, 0).decode("utf-8", "replace")
    except OSError:  # not in a worker
        return ""


# What a refusal may be about, in the names of variables; Slurm's own words don't name it.
_NAMED = {
    "account": "account",
    "partitions": "partition",
    "qos": "qos",
    "reservations": "reservation",
    "wckey": "wckey",
}


def _explained(error: JobRefused, printed: str, wanted: dict[str, Any]) -> JobRefused:
    """The error with what was asked for, and what the site's job_submit plugin told the user, which often says all.

    libslurm prints each line as ``PROGRAM: error: …``.
    """
    words = "; ".join(
        line.partition(": error: ")[2].rstrip(":") for line in printed.splitlines() if ": error: " in line
    )
    text = str(error)
    if words:
        text = f"{text.removesuffix('Unspecified error').removesuffix(': ')}: {words}"
    named = ", ".join(f"{word} {wanted[name]}" for name, word in _NAMED.items() if wanted.get(name))
    return JobRefused(f"{text} (asked for: {named})" if named else text)


def _write_down(job_id: int, container: Container) -> None:
    """For recovery: the anchor may be killed after it was told, and before its record says it."""
    try:
        file = os.open(JOB, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600, dir_fd=container.descriptor)
        os.write(file, b"%d\n" % job_id)
        os.close(file)
    except OSError:
        pass  # a full disk: then only that moment is not covered


def _say(channel: int, message: FromAllocate) -> bool:
    return wire.send(channel, message)


def _tell(channel: int, message: FromAllocate) -> None:
    if not _say(channel, message):
        cancelled()


def _wait(channel: int, job_id: int, order: Allocate) -> None:
    """Look again and again until the job has its nodes, but not for ever: see preparation.

    Raises:
        JobRefused: it ended instead.
        Cancelled: nobody waits for it any more.
    """
    pause = FIRST_PAUSE
    said = None
    until = time.monotonic() + LONGEST_WAIT
    while not _look(channel, job_id, order) and time.monotonic() < until:
        why = allocation.waiting_reason(job_id)
        if why != said:
            said = why
            _tell(channel, {"waiting": why})
        if select.select([channel], [], [], pause)[0]:
            cancelled()  # nothing else is said to us: it is the anchor's end
        pause = min(pause * 1.2, LONGEST_PAUSE)  # a sixth of the time that it waits already


def _look(channel: int, job_id: int, order: Allocate) -> bool:
    """Whether the job has its nodes; then it is said."""
    try:
        ours = order["plan"].get("request")
        found = allocation.look_up_queued(job_id, ours) if ours else _theirs(job_id)
    except JobRefused:
        allocation.waiting_reason(job_id)  # which says how it has ended, if it has
        raise
    if found["nodes"]:
        _say_nodes(channel, found, order)
    return bool(found["nodes"])


def _theirs(job_id: int) -> dict[str, Any]:
    """A job that we didn't ask for. slurmctld tells anybody of any job; srun would refuse to use it, to root as well.

    Raises:
        JobRefused: it belongs to another user.
    """
    found = control.look_up(job_id)
    if found["nodes"] and found["uid"] != identity.real_uid():
        raise JobRefused(f"job {job_id} can't be used: it is {found['user']}'s: name one of yours in SLURM_JOB_ID")
    return found


def _say_nodes(channel: int, found: dict[str, Any], order: Allocate) -> None:
    """Tell of a job with nodes, with all of its environment and how many tasks the container's step will have."""
    plan, step = order["plan"], order["step"]
    if plan.get("first_node"):
        found = {**found, "nodes": srun.expand_nodes(found["nodes"])[0], "node_count": 1}
    lines = job_environment.for_step(
        found["environment"],
        cluster=control.cluster(),
        directory=plan["directory"],
        inherited=plan.get("environment", {}),
        step=step,
    )
    tasks = job_environment.tasks(dict(line.partition("=")[::2] for line in lines) | step, found["node_count"])
    gpus = control.job_gpus(found["job"]) if plan["gpu_devices"] or plan["all_gpus"] else []
    if plan["all_gpus"]:  # the job asked for one and was given all of a node's; a step has what the job asked for
        lines.append(f"SLURM_GRES=gpu:{len(gpus)}")
    _tell(
        channel,
        {
            "nodes": {
                "nodes": found["nodes"],
                "uid": found["uid"],
                "gid": found["gid"],
                "user": found["user"],
                "group": found["group"],
                "environment": lines,
                "tasks": tasks,
                "gpus": gpus,
                "slurm": control.slurm_release(),
            }
        },
    )
