"""delete: end what runs, give the job back, and forget the container (runtime-spec, runtime.md, Delete).

As scrun(1) says, --force is always implied.
"""

from __future__ import annotations

from scrun.lifecycle import recovery
from scrun.lifecycle.container import Container
from scrun.lifecycle.control import ask


def run(container: Container) -> None:
    """Delete the container, whatever its status, and whoever of its processes still lives.

    Raises:
        ScrunError: its job could not be given back; the container stays, so that delete can be tried again.
    """
    ask(container, {"do": "delete"})
    container.lock(wait=True)  # until its anchor and its stand-in have gone
    recovery.end(container)
    container.remove()
