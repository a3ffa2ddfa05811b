"""What is owed when a container has ended: its changes brought back by stage_out, its job given back."""

from __future__ import annotations

from scrun.errors import ScrunError
from scrun.lifecycle import wire
from scrun.lifecycle.worker import Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.container import Container
    from scrun.lifecycle.loop import Loop
    from scrun.lifecycle.wire import Message


class Ending:
    """Run stage_out, then give the job back; the second doesn't keep the caller waiting.

    ``staged_out`` is called when the files are back, with the error if they aren't; ``released`` when the job is given
    back, with the error if it couldn't be: delete tries that again.
    """

    def __init__(
        self,
        loop: Loop,
        container: Container,
        *,
        log: Callable[[str, str], None],
        staged_out: Callable[[ScrunError | None], None],
        released: Callable[[ScrunError | None], None],
    ) -> None:
        self._loop, self._container, self._record = loop, container, container.record
        self._log, self._staged_out, self._released = log, staged_out, released
        self._plan: Message = {}
        self._failure: ScrunError | None = None
        self._staging: Worker | None = None
        # It imports what it needs while stage_out runs.
        self._releasing: Worker | None = self._worker("release", self._release_said, self._release_ended)

    def stage_out(self, plan: Message) -> None:
        """Bring back what the container changed, if stage_in made anything."""
        if not self._record.get("staged"):
            self._staged_out(None)
            return
        self._plan = plan
        self._staging = self._worker("hooks", self._staging_said, self._staging_ended)
        self._staging.send({"do": "load", "script": plan["script"], "lua": plan["lua"]})

    def release(self, exit_status: int | None) -> None:
        """Give the job back, if it is ours, as ended with that status; without one it is cancelled."""
        owed = self._record.get("job_owned") and not self._record.get("released")
        if not self._releasing:
            self._released(None)
        elif owed:
            self._releasing.send({"job": self._record["job"], "status": exit_status})
        else:
            self._releasing.cancel()

    def _worker(self, work: str, said: Callable[[Message], None], ended: Callable[[], None]) -> Worker:
        return Worker(self._loop, self._container, work, said=said, ended=ended)

    def _staging_said(self, message: Message) -> None:
        if "loaded" in message and self._staging:
            self._staging.send({"do": "stage out", "record": self._record, "plan": self._plan["staging"]})
        elif "log" in message:
            self._log(message["log"], message["message"])
        elif "staged out" in message:
            self._record["staged"] = None
        elif "error" in message:
            self._failure = wire.failed(message)

    def _staging_ended(self) -> None:
        worker, self._staging = self._staging, None
        error = None
        if self._record["staged"] and worker:
            error = self._failure or ScrunError(worker.last_words("stage_out ended without an answer"))
        self._failure = None
        self._staged_out(error)

    def _release_said(self, message: Message) -> None:
        if "error" in message:
            self._failure = wire.failed(message)
        else:
            self._record["released"] = True

    def _release_ended(self) -> None:
        worker, self._releasing = self._releasing, None
        owed = self._record.get("job_owned") and not self._record.get("released")
        error = None
        if owed and worker:
            error = self._failure or ScrunError(worker.last_words("giving the job back ended without an answer"))
        self._released(error)
