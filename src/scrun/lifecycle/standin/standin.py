"""The stand-in: the process whose pid the caller gets for the container's own.

The container's first process runs on another machine, so conmon and containerd's shim are given this one: it waits
for the anchor to say how the container ended and exits with that status, passes on the signals sent to it, and sits
in a network namespace of its own where the config asks for a new one (docker configures the namespace of that pid).
podman enters its mount namespace and its pid namespace, so for podman it has both: see podman_view.py.

It and the anchor watch each other: whichever is killed, the other ends the job.
"""

from __future__ import annotations

import os
import select
import signal

from scrun.errors import ScrunError
from scrun.lifecycle.container import messages, status
from scrun.lifecycle.process import fork, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.messages import FromStandin, Moved

_LOOK = 0.05  # seconds between two looks at the record

# Can't be caught, or isn't meant for the container.
_KEPT = (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGPIPE)


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
    while message := reader.next(messages.to_standin):
        if message["do"] == "new namespaces":
            if message["network"]:
                guard = _fork_guard(anchor, container)  # before: from the new namespace slurmctld can't be reached
            answer = _move(pid=message["pid"], network=message["network"])
            if message["hook"] and not answer["answer"]:
                from scrun.lifecycle.standin import engine_hook

                answer["answer"] = engine_hook.run(message["hook"], container.id)
            _send(channel, answer)
        elif message["do"] == "show podman":
            from scrun.lifecycle.standin import podman_view  # its containers alone need it

            podman_view.show(container, rootfs=message["rootfs"])
        elif message["do"] == "exit":
            return message["status"]
    if guard:
        select.select([guard], [], [])
    else:
        _end_without_anchor(container)
    return _recorded_status(container)


def forward_signals(channel: int) -> None:
    """Send each signal that arrives here to the container, through the anchor."""

    def forward(number: int, _frame: object) -> None:
        _send(channel, {"do": "kill", "signal": number})

    for number in signal.valid_signals() - set(_KEPT):
        signal.signal(number, forward)


def _send(channel: int, message: FromStandin) -> None:
    wire.send(channel, message)


def _move(*, pid: bool, network: bool) -> Moved:
    """Be in new namespaces. The answer is empty or says why not; ``pid`` is this process's new one, or 0.

    A pid namespace is for podman to find, where it may be made; without a network namespace docker would configure
    the machine's.
    """
    from scrun.lifecycle.standin import namespaces

    anew = namespaces.begin_in_new_pid_namespace() if pid else 0
    return {"answer": namespaces.enter_new_network_namespace() if network else "", "pid": anew}


def _fork_guard(anchor: int, container: Container) -> int:
    """A child that stays in these namespaces and waits for the anchor's end; the result is a pidfd of it."""
    descriptor = os.pidfd_open(anchor)

    def guard() -> None:
        select.select([descriptor], [], [])
        _end_without_anchor(container)

    ignored = signal.valid_signals() - set(_KEPT)
    pid = fork.child(guard, keep=(descriptor, container.descriptor), ignored=ignored)
    os.close(descriptor)
    return os.pidfd_open(pid)  # in a new pid namespace its number means nothing


def _end_without_anchor(container: Container) -> None:
    """End what the anchor left when it was killed, so that no job outlives its container; it may have left nothing.

    From a pid namespace of its own the stand-in reaches no srun that was left, but that ends with its job or step.
    What can't be done now (slurmctld is down) is left to a process that stays until it can.
    """
    from scrun.lifecycle.recovery import debtor

    if _files_are_owed(container):
        _wait_for_files(container)
        return
    if debtor.pay(container):
        return
    container.load()
    if os.getpid() == 1:  # all of its pid namespace would end with it
        debtor.stay(container)
    else:
        debtor.leave(container)


def _recorded_status(container: Container) -> int:
    """How the container ended, where that was known when its anchor was killed."""
    try:
        container.load()
    except ScrunError:
        return status.KILLED
    return int(container.record.get("exit_status", status.KILLED))


def _files_are_owed(container: Container) -> bool:
    from scrun.lifecycle.container import owed

    try:
        container.load()
    except ScrunError:
        return False
    return owed.is_owed(container)


def _wait_for_files(container: Container) -> None:
    """Have a process bring them back that outlives this one, if engines kill this one meanwhile; and wait for it."""
    import time

    from scrun.lifecycle.container import owed
    from scrun.lifecycle.recovery import debtor

    # From a pid namespace of its own it sees only its children, and they end with it.
    pid = debtor.leave(container, at_once=True)
    while os.waitpid(pid, os.WNOHANG) == (0, 0) and (os.getpid() == 1 or owed.is_owed(container)):
        time.sleep(_LOOK)
        try:
            container.load()
        except ScrunError:  # it was deleted meanwhile
            return
