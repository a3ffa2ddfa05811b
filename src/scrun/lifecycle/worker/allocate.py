"""Get the container its job: ask Slurm for a new one and wait until it has nodes, or look up an existing one.

The worker sends ``{"job": …}`` as soon as the job has an id, ``{"waiting": …}`` while the job is queued, and
``{"nodes": …}`` at the end. If the anchor is gone by then, it was killed, and nothing else knows of the new job. So the
worker cancels the job.
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
from scrun.lifecycle.process import wire
from scrun.lifecycle.worker.cancel import Cancelled, cancelled
from scrun.slurm import allocation, control, job_environment, srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.process.wire import Message
    from scrun.slurm.answers import Allocation

FIRST_PAUSE, LONGEST_PAUSE, LONGEST_WAIT = 0.05, 2.0, 30.0  # seconds


def serve(channel: int, container: Container) -> None:
    """Serve one request: a :class:`scrun.slurm.job.JobRequest`, with more.

    The request also has ``step``, the variables for srun, and perhaps ``look at``, the id of a queued job that was
    asked for before. That job is only looked up, once.

    Raises:
        JobRefused: Slurm refuses the job, the job has ended, or it is another user's.
        SlurmError: slurmctld can't be reached.
    """
    message = wire.Reader(channel).next()
    if not message:
        return
    if "look at" in message:
        _tell_if_granted(channel, message["look at"], message)
        return
    if "existing" in message:
        wire.send(channel, {"job": message["existing"]})
        _wait(channel, message["existing"], message)
        return
    root, anchor = os.path.dirname(container.path), os.getppid()
    message["request"]["fields"]["container_id"] = origin.mark(container.id, root, anchor)
    answer = None
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # _tell notices when the anchor is gone
    try:
        # A SIGTERM while Slurm is asked would be raised before the answer is kept, and its job would be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        printed = _read_printed()
        try:
            answer = allocation.ask_for_job(message["request"])
        except JobRefused as error:
            raise _explained(error, _read_printed()[len(printed) :], message["request"]["attributes"]) from error
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        _write_down(answer["job"], container)
        _tell(channel, {"job": answer["job"]})
        if notice := answer.get("notice"):
            _tell(channel, {"notice": notice})
        if answer["nodes"]:
            _tell_nodes(channel, answer, message)
        else:
            _wait(channel, answer["job"], message)
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


def _tell(channel: int, message: Message) -> None:
    """Send a message to the anchor.

    Raises:
        Cancelled: the anchor is gone.
    """
    if not wire.send(channel, message):
        cancelled()


def _wait(channel: int, job_id: int, message: Message) -> None:
    """Look up the job again and again until it has nodes, for at most :data:`LONGEST_WAIT`.

    After that the anchor begins a new worker now and then (:mod:`scrun.lifecycle.anchor.preparation`).

    Raises:
        JobRefused: the job has ended.
        Cancelled: the anchor is gone.
    """
    pause = FIRST_PAUSE
    told = None
    until = time.monotonic() + LONGEST_WAIT
    while not _tell_if_granted(channel, job_id, message) and time.monotonic() < until:
        why = allocation.waiting_reason(job_id)
        if why != told:
            told = why
            _tell(channel, {"waiting": why})
        if select.select([channel], [], [], pause)[0]:
            cancelled()  # the anchor sends nothing here, so this is its end
        pause = min(pause * 1.2, LONGEST_PAUSE)  # a sixth of the time that the job has waited


def _tell_if_granted(channel: int, job_id: int, message: Message) -> bool:
    """Look up the job; if it has nodes, tell the anchor and return True."""
    try:
        ours = message.get("request")
        job = allocation.look_up_queued(job_id, ours) if ours else _look_up_existing(job_id)
    except JobRefused:
        allocation.waiting_reason(job_id)  # if the job has ended, this error tells how
        raise
    if job["nodes"]:
        _tell_nodes(channel, job, message)
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


def _tell_nodes(channel: int, job: Allocation, message: Message) -> None:
    """Tell the anchor about a job with nodes: its environment, and how many tasks the container's step will have."""
    step = message["step"]
    if message.get("first_node"):
        job = {**job, "nodes": srun.expand_nodes(job["nodes"])[0], "node_count": 1}
    lines = job_environment.for_step(
        job["environment"],
        cluster=control.cluster(),
        directory=message["directory"],
        inherited=message.get("environment", {}),
        step=step,
    )
    tasks = job_environment.tasks(dict(line.partition("=")[::2] for line in lines) | step, job["node_count"])
    gpus = control.job_gpus(job["job"]) if message["gpu_devices"] or message["all_gpus"] else []
    if message[
        "all_gpus"
    ]:  # the job asked for one GPU and was given all of a node, but a step gets what the job asked for
        lines.append(f"SLURM_GRES=gpu:{len(gpus)}")
    _tell(
        channel,
        {"nodes": {**job, "environment": lines, "tasks": tasks, "gpus": gpus, "slurm": control.slurm_release()}},
    )
