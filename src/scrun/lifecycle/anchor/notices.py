"""What becomes of the job, for who reads the container's standard error, in lines as srun has them.

A queued container is `created` for docker and podman, and may be started: from then on somebody looks at its standard
error, and nothing else tells them why nothing happens.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.messages import ToCreator


class Notices:
    """Hears what the workers tell; ``say`` is called with each line, if the record says that somebody wants them."""

    def __init__(self, container: Container, say: Callable[[str], None]) -> None:
        self._record, self._say = container.record, say
        self._waits, self._is_queued, self._why = False, False, ""

    def hear(self, message: ToCreator) -> None:
        """What a worker has to say of the job."""
        if "notice" in message and self._record.get("notices"):
            for line in message["notice"].splitlines():
                self._say(line)
        elif "waiting" in message:
            self._waits, self._why = True, message["waiting"]
        elif "granted" in message:
            self._waits = False
            if self._is_queued:
                self._say(f"job {self._record['job']} has been allocated resources: {message['granted']}")

    def begun(self) -> None:
        """The container's step begins."""
        if self._record.get("remark") and self._record.get("notices"):
            self._say(self._record["remark"])

    def started(self) -> None:
        """The container was started, and isn't ready yet: its files are being staged, or its job waits."""
        if self._waits and self._record.get("notices"):
            self._is_queued = True
            why = f" ({self._why})" if self._why and self._why != "None" else ""
            self._say(f"job {self._record['job']} is queued and waiting for resources{why}")
