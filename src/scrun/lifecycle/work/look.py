"""Look whether a job is still there."""

from __future__ import annotations

from scrun.errors import JobRefused
from scrun.lifecycle import wire
from scrun.slurm import control


def run(channel: int) -> None:
    """Serve one request, ``{"job": id}``; the answer is ``{"gone": …}``."""
    if not (message := wire.Reader(channel).next()):
        return
    try:
        control.look_up(message["job"])
    except JobRefused:
        wire.send(channel, {"gone": True})
    else:
        wire.send(channel, {"gone": False})
