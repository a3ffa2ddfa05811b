"""delete: end what runs, give the job back, and forget the container (runtime-spec, runtime.md, Delete).

As scrun(1) says, --force is always implied.
"""

from __future__ import annotations

import time

from scrun.lifecycle import recovery
from scrun.lifecycle.container import Container
from scrun.lifecycle.control import ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PAUSE = 0.02  # seconds


def run(container: Container, *, pause: Callable[[float], None] = time.sleep) -> None:
    """Delete the container, whatever its status, and whoever of its processes still lives.

    Raises:
        ScrunError: its job could not be given back; the container stays, so that delete can be tried again.
    """
    # The lock is free when its anchor and its stand-in have gone. In a container that is just being made there may be
    # no anchor yet who could be asked to go.
    while not (is_asked := ask(container, {"do": "delete"}) is not None) and not container.lock(wait=False):
        pause(_PAUSE)
    if is_asked:
        container.lock(wait=True)
    recovery.end(container)
    container.remove()
