"""Get the container its job: ask Slurm for one and wait until it has nodes, or find the one that was named.

Says ``{"job": …}`` as soon as the job has an id, ``{"waiting": …}`` while it is queued, ``{"nodes": …}`` at the end.
"""

from __future__ import annotations

import time

from scrun.lifecycle import wire
from scrun.lifecycle.worker import Cancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FIRST_POLL, LONGEST_POLL = 0.05, 5.0  # seconds between two looks at a queued job


def run(channel: int) -> None:
    """Serve one request: ``{"request": …}`` for a new job, ``{"existing": job id}`` for one that is there."""
    from scrun.slurm import allocation

    reader = wire.Reader(channel)
    if not (message := reader.next()):
        return
    if "existing" in message:
        job_id = message["existing"]
        wire.send(channel, {"job": job_id})
        _wait(channel, allocation.look_up, job_id)
        return
    answer = None
    try:
        answer = allocation.request(message["request"])
        wire.send(channel, {"job": answer["job"], "uid": answer["uid"], "gid": answer["gid"]})
        if answer["nodes"]:
            wire.send(channel, {"nodes": answer})
        else:
            _wait(channel, allocation.look_up, answer["job"])
    except (Cancelled, Exception):
        if answer:
            allocation.cancel(answer["job"])
        raise


def _wait(channel: int, look_up: Callable[[int], dict[str, Any]], job_id: int) -> None:
    """Wait until the job has its nodes; gently, since it may take hours.

    Raises:
        JobRefused: it ended instead.
    """
    pause = FIRST_POLL
    said = ""
    while True:
        found = look_up(job_id)
        if found["nodes"]:
            wire.send(channel, {"nodes": found})
            return
        if found["reason"] != said:
            said = found["reason"]
            wire.send(channel, {"waiting": said})
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_POLL)
