"""delete: end what runs, give the job back, and forget the container (runtime-spec, runtime.md, Delete).

As scrun(1) says, --force is always implied.
"""

from __future__ import annotations

import time

from scrun.errors import AnchorSilent, ContainerNotFound, DamagedRecord, ScrunError, SlurmUnreachable
from scrun.lifecycle.container import owed
from scrun.lifecycle.container.client import ask
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.recovery import recovery

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.container.messages import Answer

# Seconds that the anchor has to answer a ping until it is killed: long enough for a file server that hangs for a while,
# since what the container changed is lost then.
SILENCE = 60.0
# Seconds that those who stay have to go when they have nothing left to do, and those that they have to die.
TO_GO, _TO_DIE = 5.0, 10.0
_PAUSE = 0.02


def run(container: Container, say: Callable[[str, str], None], *, pause: Callable[[float], None] = time.sleep) -> None:
    """Delete the container, whatever its status, and whoever of its processes still lives.

    Args:
        container: its record needn't have been read.
        say: is called with a level and what somebody should know: why it takes long, what was not as it should be.

    Raises:
        ScrunError: its job could not be given back, or a process of it doesn't end; the container stays then.
    """
    if _is_left(container):
        _leave(container, say)
        return
    until, answer = time.monotonic() + TO_GO, None
    try:
        # In a container that is just being made there may be no anchor yet who could be asked to go.
        while not (answer := _ask(container, say)) and not container.lock(wait=False) and time.monotonic() < until:
            pause(_PAUSE)
    except AnchorSilent:
        _kill_holders(container, say)
    if answer and answer.get("later"):
        _say_later(container, say)
        return
    if not _lock(container, TO_GO):  # until its anchor and its stand-in have gone
        from scrun.lifecycle.container import holders

        holders.wake(container)
        if not _lock(container, SILENCE):
            _kill_holders(container, say)
    if _loaded(container) and owed.is_owed(container):
        _leave(container, say)
        return
    if lost := (answer or container.record).get("lost"):
        say("error", f"{container.id}: {lost}")
    try:
        recovery.end(container)
    except SlurmUnreachable as error:
        from scrun.lifecycle.recovery import debtor

        debtor.leave(container, unwanted=True)
        raise SlurmUnreachable(f"{error}: tried again until it answers; the container goes then") from error
    container.remove()


def forgotten(root: str, container_id: str, say: Callable[[str, str], None]) -> bool:
    """Whether a container that isn't there had left a job, which is ended now: from before this host's last boot."""
    from scrun.lifecycle.recovery import sweep

    return sweep.is_due(root) and container_id in sweep.run(root, say, make=True)


def _ask(container: Container, say: Callable[[str, str], None]) -> Answer | None:
    """What its anchor has answered, if it was there to be asked; it has done what is to be done then, or goes on."""
    waits = lambda what: say("info", f"{container.id}: {what}")  # noqa: E731
    return ask(container, {"do": "delete"}, silence=SILENCE, waits=waits)


def _loaded(container: Container) -> bool:
    try:
        container.load()
    except (ContainerNotFound, DamagedRecord):
        return False
    return True


def _is_left(container: Container) -> bool:
    """Whether its anchor was killed, and a process brings its files back already."""
    return _loaded(container) and owed.is_left(container)


def _leave(container: Container, say: Callable[[str, str], None]) -> None:
    """Have its files brought back by a process that nobody waits for."""
    from scrun.lifecycle.recovery import coming_back

    if not coming_back.leave(container):
        _say_later(container, say)


def _say_later(container: Container, say: Callable[[str, str], None]) -> None:
    say("info", f"{container.id}: its changes are still coming back: scrun list shows it until they are here")


def _kill_holders(container: Container, say: Callable[[str, str], None]) -> None:
    """End those who stay with the container and do nothing, and have its lock."""
    from scrun.lifecycle.container import holders

    pids = ", ".join(map(str, holders.kill(container)))
    say(
        "error",
        f"processes {pids} of container {container.id!r} did nothing for {SILENCE:.0f} s and were killed: "
        "its job is ended without them, and what it changed may not have come back",
    )
    if not _lock(container, _TO_DIE):
        raise ScrunError(f"processes {pids} of container {container.id!r} don't end, not even by SIGKILL: see ps")


def _lock(container: Container, patience: float) -> bool:
    """Have the container's lock, within so many seconds."""
    until, pause = time.monotonic() + patience, 0.001
    while not container.lock(wait=False):
        if time.monotonic() > until:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    return True
