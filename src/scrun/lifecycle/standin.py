"""The stand-in: the process whose pid the caller gets for the container's own.

The container's first process runs on another machine, so conmon and containerd's shim are given this one: it waits
for the anchor to say how the container ended and exits with that status, passes on the signals sent to it, and sits
in a network namespace of its own where the config asks for a new one (docker configures the namespace of that pid).

It and the anchor watch each other: whichever is killed, the other ends the job.
"""

from __future__ import annotations

import os
import signal

from scrun.lifecycle import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container import Container

KILLED = 128 + signal.SIGKILL
# Can't be caught, or isn't meant for the container.
_KEPT = (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGPIPE)
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # unshare(2); os has them from Python 3.12 on


def run(channel: int, container: Container) -> int:
    """Stand in for the container until it ends; the result is the container's exit status."""
    forward_signals(channel)
    reader = wire.Reader(channel)
    while message := reader.next():
        if message["do"] == "new network namespace":
            wire.send(channel, {"answer": _enter_new_network_namespace()})
        elif message["do"] == "exit":
            return int(message["status"])
    return _without_anchor(container)


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
            _unshare(flags)
        except OSError as error:
            why = error.strerror
        else:
            return ""
    return f"can't make a network namespace for the container's process: {why}"


def _unshare(flags: int) -> None:
    if hasattr(os, "unshare"):
        os.unshare(flags)
        return
    import ctypes  # Python 3.11

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _without_anchor(container: Container) -> int:
    """The anchor was killed: end what it left, so that no job outlives its container."""
    from scrun.lifecycle import recovery

    recovery.end(container)
    return KILLED
