"""The heavy work of a container's life, each piece done in a worker (:mod:`scrun.lifecycle.worker`)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container import Container


def run(work: str, channel: int, container: Container) -> None:
    """Do the piece of work of that name; only then is what it needs imported."""
    if work == "allocate":
        from scrun.lifecycle.work import allocate

        allocate.run(channel, container)
    elif work == "release":
        from scrun.lifecycle.work import release

        release.run(channel, container)
    elif work == "stage in":
        from scrun.lifecycle.work import stage_in

        stage_in.run(channel, container)
    elif work == "look":
        from scrun.lifecycle.work import look

        look.run(channel)
    elif work == "renew":
        from scrun.lifecycle.work import renew

        renew.run(channel, container)
    elif work == "stage out":
        from scrun.lifecycle.work import stage_out

        stage_out.run(channel, container)
    else:
        raise ValueError(work)
