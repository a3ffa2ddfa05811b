"""What is owed when a container has ended: its changes brought back by stage_out, its job given back."""

from __future__ import annotations

import os

from scrun.errors import ScrunError
from scrun.lifecycle.anchor.worker import Worker
from scrun.lifecycle.container.directory import BACK
from scrun.lifecycle.container.plan import hook_request
from scrun.lifecycle.container.worker_messages import from_ending
from scrun.lifecycle.process import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.plan import Plan
    from scrun.lifecycle.container.record import Record
    from scrun.lifecycle.container.staging_plan import HookRequest
    from scrun.lifecycle.container.worker_messages import FromEnding, GiveBack, Release, StageOut, ToEnding
    from scrun.lifecycle.process.loop import Loop
    from scrun.staging.model import StagedData


# Seconds between two attempts to give the job back while slurmctld doesn't answer.
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0


class Ending:
    """Run stage_out, then give the job back; one worker does both.

    ``files_back`` is called when the files are back, and when stage_out has ended, with the error if it failed. Where
    nothing has to come back it is called at once, too, because stage_out then only tidies up. ``released`` is called
    when the job is given back, with the error if it couldn't be: then :meth:`try_later`. ``stager`` is a worker that
    may still be there to run stage_out. ``keep`` writes the record down.
    """

    def __init__(
        self,
        loop: Loop,
        container: Container,
        *,
        stager: Worker | None,
        log: Callable[[str, str], None],
        keep: Callable[[], object],
        files_back: Callable[[ScrunError | None], None],
        released: Callable[[ScrunError | None], None],
    ) -> None:
        self._loop, self._container, self._record = loop, container, container.record
        self._keep = keep
        self._log, self._files_back, self._released = log, files_back, released
        self._stager = stager
        self._has_begun = False
        self._failure: ScrunError | None = None
        self._worker: Worker | None = None
        self._order: GiveBack | None = None  # for the job, once it is known how it ended
        self._timer, self._pause = 0, _FIRST_PAUSE
        self._is_watched = False  # whether stage_out's job has ended
        self._given_up: ScrunError | None = None
        self._left: Record | None = None  # of one whose stage_out was killed: what that has left is removed
        self._request: StageOut | None = None

    def begin(self, plan: Plan) -> None:
        """Bring back what the container changed, if stage_in has run."""
        if self._record.get("staged"):
            from scrun.lifecycle.container import left_by_slurm

            left_by_slurm.remove(self._record)
        have_to_come_back = False
        if self._record.get("stage_out_owed"):
            have_to_come_back = self._record["hold"] or _has_to_come_back(self._record["staged"])
            if have_to_come_back:
                self._keep()  # how it ended is known, whoever is killed from here on
            self._stage_out({**hook_request(plan)})
        if not have_to_come_back:
            self._files_back(None)

    def release(self, exit_status: int | None) -> None:
        """Give the job back, if it is ours, as ended with that status; without one it is cancelled.

        It comes after stage_out, whose commands run in it.
        """
        self._order = {"job": self._record.get("job", 0), "status": exit_status}
        if not self._worker:
            self._release()
        else:
            self._worker.send(self._for_the_job(self._order))

    @property
    def is_repeated(self) -> bool:
        """Whether that was tried before."""
        return self._pause > _FIRST_PAUSE

    def try_later(self) -> None:
        """Give the job back once more, after a while."""
        self._timer = self._loop.after(self._pause, self._try_now)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def hurry(self) -> None:
        """Somebody waits for the end: don't wait to try again, nor for a stage_out that outlives its job."""
        if self._timer:
            self._try_now()
        elif self.is_staging_out and not self._is_watched:
            from scrun.lifecycle.anchor import overtime

            self._is_watched = True
            overtime.watch(self._loop, self._container, lambda: not self.is_staging_out, self._give_up)

    def waits_for(self) -> str:
        """What keeps who waits for the end waiting, for a person; empty where it is nothing to speak of."""
        if not self.is_staging_out:
            return ""
        return f"stage_out goes on, which brings its changes back: scancel {self._record['job']} has them given up"

    @property
    def is_staging_out(self) -> bool:
        """Whether stage_out is at work."""
        return bool(self._worker and self._record.get("stage_out_owed"))

    @property
    def are_files_back(self) -> bool:
        """Whether stage_out needs nothing more on this host, so that the bundle may go."""
        return not self._record.get("stage_out_owed") or self._container.is_marked(BACK)

    def _may_be_repeated(self) -> bool:
        """Whether stage_out has not said that it is done, and may be run once more."""
        owes = self._record.get("stage_out_owed") and self._record.get("owed")
        return bool(owes and self._request and not self._given_up)

    def _give_up(self) -> None:
        job = self._record["job"]
        self._given_up = ScrunError(f"stage_out was given up, since job {job} has ended: what it had to do isn't done")
        if self._worker:
            self._worker.cancel()

    def _try_now(self) -> None:
        self._loop.forget(self._timer)
        self._timer = 0
        self._release()

    def _release(self) -> None:
        order: Release = {"left": self._left, "job": self._order if self._is_owed() else None}
        self._left = None
        if order["left"] or order["job"]:
            self._start("release", order)
        else:
            self._released(None)

    def _for_the_job(self, order: GiveBack) -> ToEnding:
        if self._is_owed():
            return order
        return {"keep_job": True}

    def _is_owed(self) -> bool:
        return bool(self._record.get("job_owned") and not self._record.get("released"))

    def _stage_out(self, hook: HookRequest) -> None:
        request: StageOut = {**hook, "record": self._record}
        self._request = request
        stager, self._stager = self._stager, None
        if stager and stager.is_there:
            self._worker = stager
            stager.hand_over(
                from_ending, self._said, lambda: self._ended() if self._has_begun else self._start_late(request)
            )
            stager.send(request)
        else:
            self._start("stage out", request)

    def _start_late(self, request: StageOut) -> None:
        """The stager went when he was asked, or whoever ran it was killed."""
        self._start("stage out", request)
        if self._worker and self._order:
            self._worker.send(self._for_the_job(self._order))

    def _start(self, work: str, request: StageOut | Release) -> None:
        self._worker = Worker(self._loop, self._container, work, from_ending, said=self._said, ended=self._ended)
        self._worker.send(request)

    def _said(self, message: FromEnding) -> None:
        if "log" in message:
            self._log(message["log"], message["message"])
        elif "begun" in message:
            self._has_begun = True
        elif "files_back" in message:
            if not self._record["hold"]:
                self._files_back(None)
        elif "staged_out" in message:
            self._record["stage_out_owed"] = False
            self._files_back(None)
        elif "released" in message:
            self._record["released"] = True
        elif "error" in message:
            self._failure = wire.failed(message)

    def _ended(self) -> None:
        worker, self._worker = self._worker, None
        error, self._failure = self._failure, None
        if worker and self._may_be_repeated() and not error:
            self._log("info", f"{worker.last_words('stage_out was killed')}: it is run again")
            request, self._request = self._request, None
            if request:
                self._start_late(request)
            return
        if self._record.get("stage_out_owed") and worker:
            # The hook failed, and its worker is gone before it could give the job back.
            self._record["stage_out_owed"] = False
            self._left = None if error else self._record
            error = self._given_up or error or ScrunError(worker.last_words("stage_out ended without an answer"))
            self._record["lost"] = str(error)
            is_to_release = bool(self._order)  # already; else that comes of telling
            self._files_back(error)
            if is_to_release and not self._worker:
                self._release()
        elif self._is_owed() and worker:
            self._released(error or ScrunError(worker.last_words("giving the job back ended without an answer")))
        else:
            self._released(None)


def _has_to_come_back(staged: StagedData) -> bool:
    """Whether files were carried, or the container wrote into one of the small ones that were copied for it.

    Each of those is opened, not only looked at: that is what makes NFS ask its server (nfs(5), close-to-open).
    """
    if staged.get("node_parent"):
        return True
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
