"""Get the container its job: ask Slurm for a new one and wait until it has nodes, or look up an existing one.

The worker tells the job's id as soon as there is one. If the anchor is gone by then, it was killed, and nothing else
knows of the new job. So the worker cancels the job.
"""

from __future__ import annotations

import os
import select
import time

from scrun import identity, signal
from scrun.errors import JobRefused
from scrun.lifecycle.container import origin
from scrun.lifecycle.container.directory import JOB
from scrun.lifecycle.process import wire
from scrun.lifecycle.worker.cancel import Cancelled, cancelled
from scrun.slurm import allocation, control, job_environment, srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.worker_messages import Allocate, FromAllocate
    from scrun.slurm.answers import Allocation

FIRST_PAUSE, LONGEST_PAUSE, LONGEST_WAIT = 0.05, 2.0, 10.0  # seconds


def get_job(channel: int, container: Container, order: Allocate) -> bool:
    """Get the job, and tell the anchor of it and of its nodes.

    Returns:
        Whether it has its nodes; it is looked at once, or for :data:`LONGEST_WAIT`.

    Raises:
        JobRefused: Slurm refuses the job, the job has ended, or it is another user's.
        SlurmError: slurmctld can't be reached.
        Cancelled: the anchor doesn't need the job any more, or is gone.
    """
    plan = order["plan"]
    if order["look_at"]:
        return _tell_if_granted(channel, order["look_at"], order)
    if "existing" in plan:
        _say(channel, {"job": plan["existing"]})
        return _wait(channel, plan["existing"], order)
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # _tell notices when the anchor is gone
    try:
        return _ask(channel, container, order)
    finally:
        signal.signal(signal.SIGPIPE, before)


def _ask(channel: int, container: Container, order: Allocate) -> bool:
    """Ask for a new job, and wait for its nodes; a job that nobody will use is cancelled."""
    plan = order["plan"]
    root, anchor = os.path.dirname(container.path), os.getppid()
    plan["request"]["fields"]["container_id"] = origin.mark(container.id, root, anchor)
    answer = None
    try:
        # A SIGTERM while Slurm is asked would be raised before the answer is kept, and its job would be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        printed = _read_printed()
        try:
            answer = allocation.ask_for_job(plan["request"])
        except JobRefused as error:
            raise _explained(error, _read_printed()[len(printed) :], plan["request"]["attributes"]) from error
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        _write_down(answer["job"], container)
        _tell(channel, {"job": answer["job"]})
        if notice := answer.get("notice"):
            _tell(channel, {"notice": notice})
        if not answer["nodes"]:
            return _wait(channel, answer["job"], order)
        _tell_nodes(channel, answer, order)
        return True
    except (Cancelled, Exception):
        if answer:
            control.cancel(answer["job"])
        raise


def _read_printed() -> str:
    """What libslurm has printed in this worker: a plugin's words to the user are in no other place."""
    try:
        return os.pread(2, 1 << 16, 0).decode("utf-8", "replace")
    except OSError:  # not in a worker
        return ""


# Attributes that a refusal may be about, and what a person calls them; Slurm's own words don't name them.
_NAMED = {
    "account": "account",
    "partitions": "partition",
    "qos": "qos",
    "reservations": "reservation",
    "wckey": "wckey",
}


def _explained(error: JobRefused, printed: str, attributes: dict[str, object]) -> JobRefused:
    """The error with what was asked for, and with the words of the site's job_submit plugin, which often say it all.

    Args:
        error: Slurm's.
        printed: what libslurm printed; each line of a plugin's is ``PROGRAM: error: …``.
        attributes: the job's.
    """
    words = "; ".join(
        line.partition(": error: ")[2].rstrip(":") for line in printed.splitlines() if ": error: " in line
    )
    text = str(error)
    if words:
        text = f"{text.removesuffix('Unspecified error').removesuffix(': ')}: {words}"
    named = ", ".join(f"{word} {attributes[name]}" for name, word in _NAMED.items() if attributes.get(name))
    return JobRefused(f"{text} (asked for: {named})" if named else text)


def _write_down(job_id: int, container: Container) -> None:
    """Write the job's id down for recovery: the anchor may be killed before its record has the id."""
    try:
        file = os.open(JOB, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600, dir_fd=container.descriptor)
        os.write(file, b"%d\n" % job_id)
        os.close(file)
    except OSError:
        pass  # the disk is full; then only that moment isn't covered


def _say(channel: int, message: FromAllocate) -> bool:
    return wire.send(channel, message)


def _tell(channel: int, message: FromAllocate) -> None:
    """Send a message to the anchor.

    Raises:
        Cancelled: the anchor is gone.
    """
    if not _say(channel, message):
        cancelled()


def _wait(channel: int, job_id: int, order: Allocate) -> bool:
    """Look up the job again and again until it has nodes, for at most :data:`LONGEST_WAIT`; whether it has them.

    After that the anchor begins other workers now and then (:mod:`scrun.lifecycle.anchor.preparation`).

    Raises:
        JobRefused: the job has ended.
        Cancelled: the anchor is gone.
    """
    pause = FIRST_PAUSE
    told = None
    until = time.monotonic() + LONGEST_WAIT
    while not _tell_if_granted(channel, job_id, order):
        if time.monotonic() >= until:
            return False
        why = allocation.waiting_reason(job_id)
        if why != told:
            told = why
            _tell(channel, {"waiting": why})
        if select.select([channel], [], [], pause)[0]:
            cancelled()  # the anchor sends nothing here, so this is its end
        pause = min(pause * 1.2, LONGEST_PAUSE)  # a sixth of the time that the job has waited
    return True


def _tell_if_granted(channel: int, job_id: int, order: Allocate) -> bool:
    """Look up the job; if it has nodes, tell the anchor and return True."""
    try:
        ours = order["plan"].get("request")
        job = allocation.look_up_queued(job_id, ours) if ours else _look_up_existing(job_id)
    except JobRefused:
        allocation.waiting_reason(job_id)  # if the job has ended, this error tells how
        raise
    if job["nodes"]:
        _tell_nodes(channel, job, order)
    return bool(job["nodes"])


def _look_up_existing(job_id: int) -> Allocation:
    """Look up a job that scrun didn't ask for; slurmctld tells anybody about any job.

    Raises:
        JobRefused: the job is another user's; srun would refuse to use it, for root too.
    """
    job = control.look_up(job_id)
    if job["nodes"] and job["uid"] != identity.real_uid():
        raise JobRefused(f"job {job_id} can't be used: it is {job['user']}'s: name one of yours in SLURM_JOB_ID")
    return job


def _tell_nodes(channel: int, job: Allocation, order: Allocate) -> None:
    """Tell the anchor about a job with nodes: its environment, and how many tasks the container's step will have."""
    plan, step = order["plan"], order["step"]
    if plan.get("first_node"):
        job = {**job, "nodes": srun.expand_nodes(job["nodes"])[0], "node_count": 1}
    lines = job_environment.for_step(
        job["environment"],
        cluster=control.cluster(),
        directory=plan["directory"],
        inherited=plan.get("environment", {}),
        step=step,
    )
    tasks = job_environment.tasks(dict(line.partition("=")[::2] for line in lines) | step, job["node_count"])
    gpus = control.job_gpus(job["job"]) if plan["gpu_devices"] or plan["all_gpus"] else []
    if plan[
        "all_gpus"
    ]:  # the job asked for one GPU and was given all of a node, but a step gets what the job asked for
        lines.append(f"SLURM_GRES=gpu:{len(gpus)}")
    _tell(
        channel,
        {
            "nodes": {
                "nodes": job["nodes"],
                "uid": job["uid"],
                "gid": job["gid"],
                "user": job["user"],
                "group": job["group"],
                "environment": lines,
                "tasks": tasks,
                "gpus": gpus,
                "slurm": control.slurm_release(),
            }
        },
    )
