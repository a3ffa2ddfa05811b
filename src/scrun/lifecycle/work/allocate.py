"""Get the container its job: ask Slurm for one and wait until it has nodes, or find the one that was named.

Says ``{"job": …}`` as soon as the job has an id, ``{"waiting": …}`` while it is queued, ``{"nodes": …}`` at the end.
"""

from __future__ import annotations

import time

from scrun.lifecycle import wire
from scrun.lifecycle.worker import Cancelled
from scrun.slurm import allocation, control

FIRST_POLL, LONGEST_POLL = 0.05, 5.0  # seconds between two looks at a queued job


def run(channel: int) -> None:
    """Serve one request: ``{"request": …}`` for a new job, ``{"existing": job id}`` for one that is there."""
    message = wire.Reader(channel).next()
    if not message:
        return
    if "existing" in message:
        wire.send(channel, {"job": message["existing"]})
        _wait(channel, message["existing"])
        return
    answer = None
    try:
        answer = allocation.request(message["request"])
        wire.send(channel, {"job": answer["job"]})
        if answer["nodes"]:
            wire.send(channel, {"nodes": answer})
        else:
            _wait(channel, answer["job"])
    except (Cancelled, Exception):
        if answer:
            control.cancel(answer["job"])
        raise


def _wait(channel: int, job_id: int) -> None:
    """Wait until the job has its nodes; gently, since it may take hours.

    Raises:
        JobRefused: it ended instead.
    """
    pause = FIRST_POLL
    said = None
    while not (found := control.look_up(job_id))["nodes"]:
        why = allocation.reason(job_id)
        if why != said:
            said = why
            wire.send(channel, {"waiting": why})
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_POLL)
    wire.send(channel, {"nodes": found})
