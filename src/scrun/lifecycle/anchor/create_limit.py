"""How long create waits for `created`: less while Slurm queues the job.

The user of a container is told of the queue when it is started (notices.py), and docker and podman hold its lock until
create returns. Once the job has its nodes, create waits for the files, so that an error of theirs is create's own.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.container.messages import ToCreator
    from scrun.lifecycle.container.plan import Plan
    from scrun.lifecycle.process.loop import Loop


class CreateLimit:
    """Calls ``overdue`` when create has waited as long as its plan says."""

    def __init__(self, loop: Loop, overdue: Callable[[], object]) -> None:
        self._loop, self._overdue = loop, overdue
        self._timer = 0  # 0: create waits for ever, or no longer
        self._until = self._queued_until = 0.0  # of the monotonic clock
        self._queued_patience = 0.0

    def begin(self, plan: Plan) -> None:
        """create waits from now on."""
        if plan["patience"]:
            self._until = time.monotonic() + plan["patience"]
            self._queued_patience = plan["queued_patience"]
            self._arm(self._until)

    def hear(self, message: ToCreator) -> None:
        """What a worker has to say of the job."""
        if self._timer and "waiting" in message:
            self._queued_until = self._queued_until or time.monotonic() + self._queued_patience
            self._arm(min(self._until, self._queued_until))
        elif self._timer and "granted" in message:
            self._arm(self._until)

    def end(self) -> None:
        """create waits no longer."""
        self._loop.forget(self._timer)
        self._timer = 0

    def _arm(self, until: float) -> None:
        self._loop.forget(self._timer)
        self._timer = self._loop.after(max(until - time.monotonic(), 0), self._fire)

    def _fire(self) -> None:
        self._timer = 0
        self._overdue()
