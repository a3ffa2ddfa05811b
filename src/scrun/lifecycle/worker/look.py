"""Look whether a job is still there, or in which state it is."""

from __future__ import annotations

from scrun import identity
from scrun.errors import JobRefused
from scrun.lifecycle.process import wire
from scrun.slurm import control


def run(channel: int) -> None:
    """Serve one request.

    The answer to ``{"job": id}`` is ``{"gone": …}``; with ``state`` it is ``{"state": …}``, squeue's word or nothing.
    """
    if not (message := wire.Reader(channel).next()):
        return
    if message.get("state"):
        from scrun.slurm import jobs

        found = jobs.of_user(identity.real_uid()).get(message["job"], {})
        wire.send(channel, {"state": found.get("state", "")})
        return
    try:
        control.look_up(message["job"])
    except JobRefused:
        wire.send(channel, {"gone": True})
    else:
        wire.send(channel, {"gone": False})
