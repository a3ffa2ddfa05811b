"""The heavy work of a container's life, each piece done in a worker (:mod:`scrun.lifecycle.worker`)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container import Container


def run(work: str, channel: int, container: Container) -> None:
    """Do the piece of work of that name; only then is what it needs imported."""
    if work == "allocate":
        from scrun.lifecycle.work import allocate

        allocate.run(channel)
    elif work == "release":
        from scrun.lifecycle.work import release

        release.run(channel)
    elif work == "hooks":
        from scrun.lifecycle.work import hooks

        hooks.run(channel, container)
    else:
        raise ValueError(work)
