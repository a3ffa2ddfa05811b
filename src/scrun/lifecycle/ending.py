"""What is owed when a container has ended: its changes brought back by stage_out, its job given back."""

from __future__ import annotations

import os

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
    """Run stage_out, then give the job back.

    ``files_back`` is called once, when the files are back, with the error if they aren't. Where nothing has to come
    back that is at once: stage_out, which then only tidies up, keeps nobody waiting but delete. ``released`` is called
    when the job is given back, with the error if it couldn't be: delete tries that again.
    """

    def __init__(
        self,
        loop: Loop,
        container: Container,
        *,
        log: Callable[[str, str], None],
        files_back: Callable[[ScrunError | None], None],
        released: Callable[[ScrunError | None], None],
    ) -> None:
        self._loop, self._container, self._record = loop, container, container.record
        self._log, self._files_back, self._released = log, files_back, released
        self._held = False
        self._failure: ScrunError | None = None
        self._staging: Worker | None = None
        self._releasing: Worker | None = None
        self._exit_status: int | None = None
        self._may_release = False

    def begin(self, plan: Message) -> None:
        """Bring back what the container changed, if stage_in has run."""
        if self._record.get("stage_out_owed"):
            self._held = self._record["hold"] or _is_changed(self._record["staged"])
            self._staging = self._worker("stage out", self._staging_said, self._staging_ended)
            wanted = {name: plan[name] for name in ("script", "lua", "staging")}
            self._staging.send({**wanted, "record": self._record})
        if not self._held:
            self._files_back(None)

    def release(self, exit_status: int | None) -> None:
        """Give the job back, if it is ours, as ended with that status; without one it is cancelled.

        It comes after stage_out, whose commands run in it.
        """
        self._exit_status, self._may_release = exit_status, True
        if not self._staging:
            self._release()

    def _release(self) -> None:
        if self._record.get("job_owned") and not self._record.get("released"):
            self._releasing = self._worker("release", self._release_said, self._release_ended)
            self._releasing.send({"job": self._record["job"], "status": self._exit_status})
        else:
            self._released(None)

    def _worker(self, work: str, said: Callable[[Message], None], ended: Callable[[], None]) -> Worker:
        return Worker(self._loop, self._container, work, said=said, ended=ended)

    def _staging_said(self, message: Message) -> None:
        if "log" in message:
            self._log(message["log"], message["message"])
        elif "staged out" in message:
            self._record["stage_out_owed"] = False
        elif "error" in message:
            self._failure = wire.failed(message)

    def _staging_ended(self) -> None:
        worker, self._staging = self._staging, None
        error = None
        if self._record["stage_out_owed"] and worker:
            error = self._failure or ScrunError(worker.last_words("stage_out ended without an answer"))
        self._failure = None
        if self._held:
            self._files_back(error)
        else:
            if error:
                self._log("error", str(error))
            if self._may_release:
                self._release()

    def _release_said(self, message: Message) -> None:
        if "error" in message:
            self._failure = wire.failed(message)
        else:
            self._record["released"] = True

    def _release_ended(self) -> None:
        worker = self._releasing
        error = None
        if not self._record.get("released") and worker:
            error = self._failure or ScrunError(worker.last_words("giving the job back ended without an answer"))
        self._released(error)


def _is_changed(staged: Message) -> bool:
    """Whether the container wrote into one of the small files that were copied for it and have to come back.

    Each is opened, not only looked at: that is what makes NFS ask its server (nfs(5), close-to-open).
    """
    for path, _source, size, mtime_ns in staged.get("copies", ()):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return True
        found = os.fstat(descriptor)
        os.close(descriptor)
        if (found.st_size, found.st_mtime_ns) != (size, mtime_ns):
            return True
    return False
