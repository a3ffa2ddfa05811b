"""Containers that are steps of another one's job, since they share a namespace with it: its guests.

The job is the host container's and ends with it, so its guests are ended first: SIGTERM, and SIGKILL for those that
take no notice. Left to Slurm they would be killed as a step is, which the node's runtime doesn't survive to tidy up.

Each is a symbolic link, ``ROOT/HOST/guests/ID -> ROOT/ID``. A container without guests has no such directory, which is
all that one has to look for.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import time

from scrun import signal
from scrun.errors import ScrunError
from scrun.lifecycle.container import status
from scrun.lifecycle.container.client import ask
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.process import fork, processes

GRACE = 5.0  # seconds between the two signals; Slurm's own KillWait is 30, for which delete would have to wait
_LAST = 10.0  # seconds that SIGKILL may take


def register(host: Container, guest: Container) -> bool:
    """Say that ``guest`` is in the job of ``host``; False when that has ended, and its job with it."""
    directory = host.child("guests")
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
        for name in os.listdir(directory):
            if name == guest.id or not os.path.exists(f"{directory}/{name}"):
                with contextlib.suppress(FileNotFoundError):  # another guest does the same at this moment
                    os.unlink(f"{directory}/{name}")
        os.symlink(guest.path, f"{directory}/{guest.id}")
        host.load()  # it looks for guests when it has said that it is stopped
    except (OSError, ScrunError):
        return False
    return host.status() != status.STOPPED


def end(host: Container, job: int) -> None:
    """End those that are in that job of ``host`` still; return when they have, and have tidied up, or it takes long."""
    left = _still_there(host, job)
    for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, _LAST)):
        senders = _signal(left, number)
        _wait(left, patience)
        for pid in senders:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _still_there(host: Container, job: int) -> dict[int, Container]:
    """By a descriptor of the anchor's process, whose end is that of all that it has to do in the job."""
    found = {}
    directory = host.child("guests")
    for name in os.listdir(directory):
        try:
            root, guest_id = os.path.split(os.readlink(f"{directory}/{name}"))
            guest = Container.open(root, guest_id)
            anchor, started = guest.record["anchor"], guest.record["anchor_started"]
            if guest.record.get("job") == job and processes.is_alive(anchor, started):
                found[os.pidfd_open(anchor)] = guest
        except (OSError, ScrunError, KeyError):  # it has gone, or has no record yet: then it finds its job ended
            continue
    return found


def _signal(guests: dict[int, Container], number: int) -> list[int]:
    """All at once, by a child for each: an answer may take as long as a job step does."""
    senders = []
    for guest in guests.values():
        # It may have just ended, or its node can't be reached: the other signal, or Slurm, is next.
        senders.append(fork.child(functools.partial(_send, guest, number)))
    return senders


def _send(guest: Container, number: int) -> None:
    ask(guest, {"do": "kill", "signal": number})


def _wait(guests: dict[int, Container], patience: float) -> None:
    """Until all have ended; those that have are taken out."""
    waiting = select.poll()
    for descriptor in guests:
        waiting.register(descriptor, select.POLLIN)
    until = time.monotonic() + patience
    while guests and (left := until - time.monotonic()) > 0:
        for descriptor, _event in waiting.poll(left * 1000):
            waiting.unregister(descriptor)
            os.close(descriptor)
            os.close(guests.pop(descriptor).descriptor)
