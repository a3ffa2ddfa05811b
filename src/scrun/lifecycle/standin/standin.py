"""The stand-in: the process whose pid the engine gets as the container's pid.

The container's first process runs on another machine, so conmon and containerd's shim get this process instead. It
passes on its signals, and exits with the container's exit status when the anchor tells that. If the config asks for a
new network namespace, the stand-in moves into one, because docker configures the namespace of that pid. podman enters
the mount namespace and the pid namespace of that pid, so for podman the stand-in has both (podman_view.py).

The stand-in and the anchor watch each other: if one is killed, the other ends the job.

When nothing has come for :data:`scrun.wait.QUIET` seconds, scrun-wait goes on in its place, which passes on signals and
exits with the container's status. For everything else scrun-wait executes Python again (:func:`wake`).
"""

from __future__ import annotations

import os
import select

from scrun import signal, wait
from scrun.errors import ScrunError
from scrun.lifecycle.container import log_crash, messages, status
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.process import fork, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    from scrun.lifecycle.container.messages import FromStandin, Moved, ToStandin

    class State(TypedDict):
        """What a stand-in, or its guard, needs to know when it wakes up."""

        root: str
        id: str
        descriptor: int  # the container's directory, as of the next ones open
        channel: int  # to the anchor; -1 in a guard
        anchor: int  # the anchor's pid; in a guard, a pidfd of it
        guard: int  # a pidfd of the guard; 0 without one
        kept: list[int]  # fork.kept_open
        title: str  # what podman finds as its command line; empty if that is its own


_LOOK = 0.05  # seconds between two looks at the record

# Signals that can't be caught, or aren't meant for the container.
_KEPT = (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGPIPE)


def run(channel: int, container: Container, anchor: int) -> int:
    """Stand in for a container until it ends; return the container's exit status.

    Args:
        channel: the connection to the anchor.
        container: the container; if the anchor is killed, its record tells what is to be ended.
        anchor: the anchor's pid.
    """
    return _Standin(channel, container, anchor).run()


def wake(state: State) -> int:
    """Go on as a stand-in after scrun-wait, or as a guard; return the exit status."""
    container = Container(state["root"], state["id"], state["descriptor"])
    try:
        return _go_on(container, state)
    except Exception:
        log_crash.write(container)
        raise


def _go_on(container: Container, state: State) -> int:
    fork.kept_open.update(state["kept"])
    wait.own({container.descriptor, *state["kept"]})
    if state["channel"] < 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
        _end_without_anchor(container)
        return 0
    made = _Standin(state["channel"], container, state["anchor"])
    made.guard, made.title = state["guard"], state["title"]
    if made.title:
        from scrun.lifecycle.standin import podman_view

        podman_view.set_command_line(made.title)
    return made.run()


class _Standin:
    """The process: ``guard`` is a pidfd of its guard, if there is one; ``title`` is what podman finds of it."""

    def __init__(self, channel: int, container: Container, anchor: int) -> None:
        self._channel, self._container, self._anchor = channel, container, anchor
        self.guard, self.title = 0, ""
        self._reader = wire.Reader(channel)

    def run(self) -> int:
        forward_signals(self._channel)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())  # those that scrun-wait has left
        while message := self._next():
            if message["do"] == "new namespaces":
                if message["network"]:
                    # Now, because the new namespace doesn't reach slurmctld.
                    self.guard = _fork_guard(self._anchor, self._container)
                answer = _move(pid=message["pid"], network=message["network"])
                if message["hook"] and not answer["answer"]:
                    from scrun.lifecycle.standin import engine_hook

                    answer["answer"] = engine_hook.run(message["hook"], self._container.id)
                _send(self._channel, answer)
            elif message["do"] == "show podman":
                from scrun.lifecycle.standin import podman_view  # only podman's containers need it

                self.title = podman_view.show(self._container, rootfs=message["rootfs"])
            elif message["do"] == "exit":
                return message["status"]
        if self.guard:
            select.select([self.guard], [], [])
        else:
            _end_without_anchor(self._container)
        return _recorded_status(self._container)

    def _next(self) -> ToStandin | None:
        """Wait for a message: first here, and then by scrun-wait, if no upgrade can replace this copy of scrun."""
        if fork.kept_open and self._reader.is_at_rest and not select.select([self._channel], [], [], wait.QUIET)[0]:
            self._let_wait()
        return self._reader.next(messages.to_standin)

    def _let_wait(self) -> None:
        """Have scrun-wait wait; this returns only where that can't be done."""
        guard = [self.guard] if self.guard else []
        name = wait.NAME
        if self.title:
            from scrun.lifecycle.standin import podman_view

            name = podman_view.NAME
        wait.become(
            ["standin", str(self._channel)],
            __name__,
            _state(self._container, self._channel, self._anchor, self.guard, self.title),
            keep=(self._channel, self._container.descriptor, *guard, *fork.kept_open),
            title=self.title or f"scrun: stand-in of {self._container.id}",
            name=name,
        )


def _state(container: Container, channel: int, anchor: int, guard: int = 0, title: str = "") -> State:
    return {
        "root": os.path.dirname(container.path),
        "id": container.id,
        "descriptor": container.descriptor,
        "channel": channel,
        "anchor": anchor,
        "guard": guard,
        "kept": [*fork.kept_open],
        "title": title,
    }


def forward_signals(channel: int) -> None:
    """Send each signal that this process gets to the container, through the anchor."""

    def forward(number: int, _frame: object) -> None:
        _send(channel, {"do": "kill", "signal": number})

    for number in signal.valid_signals() - set(_KEPT):
        signal.signal(number, forward)


def _send(channel: int, message: FromStandin) -> None:
    wire.send(channel, message)


def _move(*, pid: bool, network: bool) -> Moved:
    """Move into new namespaces.

    A pid namespace is for podman; it is no error if it can't be made. Without a network namespace docker would
    configure the machine's.

    Returns:
        ``answer``: empty, or why there is no network namespace; ``pid``: this process's new pid as seen from outside,
        or 0.
    """
    from scrun.lifecycle.standin import namespaces

    anew = namespaces.begin_in_new_pid_namespace() if pid else 0
    return {"answer": namespaces.enter_new_network_namespace() if network else "", "pid": anew}


def _fork_guard(anchor: int, container: Container) -> int:
    """Fork a child that stays in the present namespaces and waits for the anchor's end; return a pidfd of the child."""
    descriptor = os.pidfd_open(anchor)

    def guard() -> None:
        if fork.kept_open and not select.select([descriptor], [], [], wait.QUIET)[0]:
            wait.become(
                ["events", f"{descriptor}:{select.POLLIN}", "0"],
                __name__,
                _state(container, -1, descriptor),
                keep=(descriptor, container.descriptor, *fork.kept_open),
                title=f"scrun: guard of {container.id}",
            )
        select.select([descriptor], [], [])
        _end_without_anchor(container)

    ignored = signal.valid_signals() - set(_KEPT)
    pid = fork.child(guard, keep=(descriptor, container.descriptor), ignored=ignored)
    os.close(descriptor)
    return os.pidfd_open(pid)  # in a new pid namespace the pid means nothing


def _end_without_anchor(container: Container) -> None:
    """Pay what is owed after the anchor was killed, so that no job outlives its container.

    From a pid namespace of its own the stand-in can't signal srun, but srun ends with its job or step. If slurmctld is
    down, a debtor stays until it can be reached.
    """
    from scrun.lifecycle.recovery import debtor

    if _files_are_owed(container):
        _wait_for_files(container)
        return
    if debtor.pay(container):
        return
    container.load()
    if os.getpid() == 1:  # because its pid namespace would end with it
        debtor.stay(container)
    else:
        debtor.leave(container)


def _recorded_status(container: Container) -> int:
    """The container's exit status in its record; 137 if there is none."""
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
    """Leave the return of the files to a debtor, which outlives this process if an engine kills it, and wait."""
    import time

    from scrun.lifecycle.container import owed
    from scrun.lifecycle.recovery import debtor

    # In a pid namespace of its own this process sees only its children, and they end with it.
    pid = debtor.leave(container, at_once=True)
    while os.waitpid(pid, os.WNOHANG) == (0, 0) and (os.getpid() == 1 or owed.is_owed(container)):
        time.sleep(_LOOK)
        try:
            container.load()
        except ScrunError:  # the container was deleted meanwhile
            return
