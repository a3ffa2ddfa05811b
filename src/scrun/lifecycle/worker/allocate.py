"""Get the container its job: ask Slurm for one and wait until it has nodes, or find the one that was named.

Says ``{"job": …}`` as soon as the job has an id, ``{"waiting": …}`` while it is queued, ``{"nodes": …}`` at the end.
Where nobody hears that any more the anchor was killed: then the job is cancelled, as nobody else knows of it.
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

FIRST_PAUSE, LONGEST_PAUSE, LONGEST_WAIT = 0.05, 2.0, 30.0  # seconds


def run(channel: int, container: Container) -> None:
    """Serve one request.

    ``{"request": …}`` for a new job, ``{"existing": job id, "environment": {…}}`` for one that is there, of which
    ``first_node`` is all that is used; with ``look at`` for one that waits already, which is looked at once. ``step``
    are the variables that srun will get.
    """
    message = wire.Reader(channel).next()
    if not message:
        return
    if "look at" in message:
        _look(channel, message["look at"], message)
        return
    if "existing" in message:
        wire.send(channel, {"job": message["existing"]})
        _wait(channel, message["existing"], message)
        return
    root, anchor = os.path.dirname(container.path), os.getppid()
    message["request"]["descriptor"]["container_id"] = origin.mark(container.id, root, anchor)
    answer = None
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # _tell sees it
    try:
        # A SIGTERM that came while Slurm was asked would be raised before the answer is kept, and its job be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        said = _printed()
        try:
            answer = allocation.ask_for_job(message["request"])
        except JobRefused as error:
            raise _explained(error, _printed()[len(said) :], message["request"]) from error
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        _write_down(answer["job"], container)
        _tell(channel, {"job": answer["job"]})
        if notice := answer.get("notice"):
            _tell(channel, {"notice": notice})
        if answer["nodes"]:
            _say(channel, answer, message)
        else:
            _wait(channel, answer["job"], message)
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


def _explained(error: JobRefused, printed: str, wanted: Message) -> JobRefused:
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


def _tell(channel: int, message: Message) -> None:
    if not wire.send(channel, message):
        cancelled()


def _wait(channel: int, job_id: int, message: Message) -> None:
    """Look again and again until the job has its nodes, but not for ever: see preparation.

    Raises:
        JobRefused: it ended instead.
        Cancelled: nobody waits for it any more.
    """
    pause = FIRST_PAUSE
    said = None
    until = time.monotonic() + LONGEST_WAIT
    while not _look(channel, job_id, message) and time.monotonic() < until:
        why = allocation.waiting_reason(job_id)
        if why != said:
            said = why
            _tell(channel, {"waiting": why})
        if select.select([channel], [], [], pause)[0]:
            cancelled()  # nothing else is said to us: it is the anchor's end
        pause = min(pause * 1.2, LONGEST_PAUSE)  # a sixth of the time that it waits already


def _look(channel: int, job_id: int, message: Message) -> bool:
    """Whether the job has its nodes; then it is said."""
    try:
        ours = message.get("request")
        found = allocation.look_up_queued(job_id, ours) if ours else _theirs(job_id)
    except JobRefused:
        allocation.waiting_reason(job_id)  # which says how it has ended, if it has
        raise
    if found["nodes"]:
        _say(channel, found, message)
    return bool(found["nodes"])


def _theirs(job_id: int) -> Message:
    """A job that we didn't ask for. slurmctld tells anybody of any job; srun would refuse to use it, to root as well.

    Raises:
        JobRefused: it belongs to another user.
    """
    found = control.look_up(job_id)
    if found["nodes"] and found["uid"] != identity.real_uid():
        raise JobRefused(f"job {job_id} can't be used: it is {found['user']}'s: name one of yours in SLURM_JOB_ID")
    return found


def _say(channel: int, found: Message, message: Message) -> None:
    """Tell of a job with nodes, with all of its environment and how many tasks the container's step will have."""
    step = message["step"]
    if message.get("first_node"):
        found = {**found, "nodes": srun.expand_nodes(found["nodes"])[0], "node_count": 1}
    lines = job_environment.for_step(
        found["environment"],
        cluster=control.cluster(),
        directory=message["directory"],
        inherited=message.get("environment", {}),
        step=step,
    )
    tasks = job_environment.tasks(dict(line.partition("=")[::2] for line in lines) | step, found["node_count"])
    gpus = control.job_gpus(found["job"]) if message["gpu_devices"] or message["all_gpus"] else []
    if message["all_gpus"]:  # the job asked for one and was given all of a node's; a step has what the job asked for
        lines.append(f"SLURM_GRES=gpu:{len(gpus)}")
    _tell(
        channel,
        {"nodes": {**found, "environment": lines, "tasks": tasks, "gpus": gpus, "slurm": control.slurm_release()}},
    )
