"""The stand-in: the process whose pid the caller gets for the container's own.

The container's first process runs on another machine, so conmon and containerd's shim are given this one: it waits
for the anchor to say how the container ended and exits with that status, passes on the signals sent to it, and sits
in a network namespace of its own where the config asks for a new one (docker configures the namespace of that pid).
podman looks into its mount namespace: see empty_root.py.

It and the anchor watch each other: whichever is killed, the other ends the job.
"""

from __future__ import annotations

import os
import select
import signal
import time

from scrun.errors import ScrunError
from scrun.lifecycle import log_crash, wire
from scrun.lifecycle.worker import close_all_but

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container import Container

KILLED = 128 + signal.SIGKILL
# Can't be caught, or isn't meant for the container.
_KEPT = (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGPIPE)
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # unshare(2); os has them from Python 3.12 on


# How often the end of a job is tried again when Slurm can't be reached, and the seconds between.
_TRIES, _PAUSE = 20, 3.0


def run(channel: int, container: Container, anchor: int) -> int:
    """Stand in for the container until it ends; the result is the container's exit status.

    Args:
        channel: the connection to the anchor.
        container: whose record says what there is to end when the anchor is killed.
        anchor: the anchor's pid.
    """
    forward_signals(channel)
    guard = 0
    reader = wire.Reader(channel)
    while message := reader.next():
        if message["do"] == "new network namespace":
            guard = _fork_guard(anchor, container)  # before: from the new namespace slurmctld can't be reached
            wire.send(channel, {"answer": _enter_new_network_namespace()})
        elif message["do"] == "hide this host":
            from scrun.lifecycle import empty_root  # podman's containers alone need it

            empty_root.enter(container.id, container.path)
        elif message["do"] == "exit":
            return int(message["status"])
    if guard:
        os.waitpid(guard, 0)
    else:
        _end_without_anchor(container)
    return KILLED


def forward_signals(channel: int) -> None:
    """Send each signal that arrives here to the container, through the anchor."""

    def forward(number: int, _frame: object) -> None:
        wire.send(channel, {"do": "kill", "signal": number})

    for number in signal.valid_signals() - set(_KEPT):
        signal.signal(number, forward)


def _enter_new_network_namespace() -> str:
    """Leave the machine's network namespace for a new one; the answer is empty, or says why not."""
    for flags in (_CLONE_NEWNET, _CLONE_NEWUSER | _CLONE_NEWNET):  # a plain user may do it only with a user namespace
        try:
            unshare(flags)
        except OSError as error:
            why = error.strerror
        else:
            return ""
    return f"can't make a network namespace for the container's process: {why}"


def unshare(flags: int) -> None:
    """unshare(2).

    Raises:
        OSError: it isn't allowed.
    """
    if hasattr(os, "unshare"):
        os.unshare(flags)
        return
    import ctypes  # Python 3.11

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _fork_guard(anchor: int, container: Container) -> int:
    """A child that stays in this network namespace and waits for the anchor's end."""
    descriptor = os.pidfd_open(anchor)
    pid = os.fork()
    if not pid:
        try:
            for number in signal.valid_signals() - set(_KEPT):
                signal.signal(number, signal.SIG_IGN)
            close_all_but(0, 1, 2, descriptor, container.descriptor)
            select.select([descriptor], [], [])
            _end_without_anchor(container)
        finally:
            os._exit(0)
    os.close(descriptor)
    return pid


def _end_without_anchor(container: Container) -> None:
    """End what the anchor left when it was killed, so that no job outlives its container; it may have left nothing.

    What can't be done now (slurmctld is down) is tried again for a minute; after that delete will.
    """
    from scrun.lifecycle import recovery

    for _ in range(_TRIES):
        try:
            recovery.end(container)
        except ScrunError:
            log_crash.write(container)
            time.sleep(_PAUSE)
        else:
            return
