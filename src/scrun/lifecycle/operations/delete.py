"""delete: end the container, give its job back, and remove its directory (runtime-spec, runtime.md, Delete).

A container that has stopped is deleted at once where its anchor has only the job left to give back: it does that, and
removes the directory, by itself.

--force is always implied, as scrun(1) says.
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

# Seconds that the anchor has to answer a ping before it is killed. Killing it loses the container's changes, so this is
# long enough for a file server that hangs for a while.
SILENCE = 60.0
# Seconds that the anchor and the stand-in have to exit when nothing is left to do, and after a SIGKILL.
TO_GO, _TO_DIE = 5.0, 10.0
_PAUSE = 0.02  # seconds


def delete_container(
    container: Container, say: Callable[[str, str], None], *, pause: Callable[[float], None] = time.sleep
) -> None:
    """Delete a container, whatever its status is and whichever of its processes still run.

    Args:
        container: the container; its record needn't have been read.
        say: is called with a level and a message: why the deletion takes long, or what went wrong.
        pause: waits that many seconds.

    Raises:
        ScrunError: the job could not be given back, or a process of the container doesn't end; the container stays.
    """
    if _is_left(container):
        _leave(container, say)
        return
    until, answer = time.monotonic() + TO_GO, None
    try:
        # If the container is just being made, there may be no anchor yet that could be asked.
        while not (answer := _ask(container, say)) and not container.lock(wait=False) and time.monotonic() < until:
            pause(_PAUSE)
    except AnchorSilent:
        _kill_holders(container, say)
    if answer and answer.get("deleted"):
        return
    if answer and answer.get("later"):
        _say_later(container, say)
        return
    if not _lock(container, TO_GO):  # they hold the lock until they exit
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
        raise SlurmUnreachable(
            f"{error}: scrun tries again until slurmctld answers, and removes the container then"
        ) from error
    container.remove()


def end_forgotten_job(root: str, container_id: str, say: Callable[[str, str], None]) -> bool:
    """End the job of a container that is gone since this host's last boot; return whether there was one."""
    from scrun.lifecycle.recovery import sweep

    return sweep.is_due(root) and container_id in sweep.sweep_now(root, say, make=True)


def _ask(container: Container, say: Callable[[str, str], None]) -> Answer | None:
    """Ask the anchor to end the container; return its answer, or None if there is no anchor.

    With an answer, the anchor has done everything, or goes on with it (``later``).
    """
    waits = lambda what: say("info", f"{container.id}: {what}")  # noqa: E731
    return ask(container, {"do": "delete"}, silence=SILENCE, waits=waits)


def _loaded(container: Container) -> bool:
    try:
        container.load()
    except (ContainerNotFound, DamagedRecord):
        return False
    return True


def _is_left(container: Container) -> bool:
    """Whether the anchor was killed, and a process brings the container's files back already."""
    return _loaded(container) and owed.is_left(container)


def _leave(container: Container, say: Callable[[str, str], None]) -> None:
    """Leave the return of the container's files to a process that nobody waits for."""
    from scrun.lifecycle.recovery import coming_back

    if not coming_back.leave(container):
        _say_later(container, say)


def _say_later(container: Container, say: Callable[[str, str], None]) -> None:
    say("info", f"{container.id}: its changes are still coming back: scrun list shows it until they are here")


def _kill_holders(container: Container, say: Callable[[str, str], None]) -> None:
    """Kill the processes that hold the container's lock and do nothing, and take the lock.

    Raises:
        ScrunError: a process doesn't end even after SIGKILL.
    """
    from scrun.lifecycle.container import holders

    pids = ", ".join(map(str, holders.kill(container)))
    say(
        "error",
        f"processes {pids} of container {container.id!r} did nothing for {SILENCE:.0f} s and were killed: "
        "its job is ended without them, and what it changed may not have come back",
    )
    if not _lock(container, _TO_DIE):
        raise ScrunError(
            f"processes {pids} of container {container.id!r} don't end after SIGKILL: look at them with ps"
        )


def _lock(container: Container, patience: float) -> bool:
    """Take the container's lock; False if it isn't free within ``patience`` seconds."""
    until, pause = time.monotonic() + patience, 0.001
    while not container.lock(wait=False):
        if time.monotonic() > until:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    return True
