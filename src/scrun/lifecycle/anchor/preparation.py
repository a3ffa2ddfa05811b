"""What a container needs before it can run: its job with nodes, and its files staged there by the hooks.

Two workers do it. Both are forked at once and import, for some 40 ms, what they need while create still reads the
config; the hook script is loaded before the job is asked for, so that a broken script costs nobody a job.
"""

from __future__ import annotations

from scrun.errors import JobRefused, ScrunError, SlurmError
from scrun.lifecycle.anchor.worker import Worker
from scrun.lifecycle.container import worker_messages
from scrun.lifecycle.container.plan import hook_request
from scrun.lifecycle.process import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.messages import ToCreator
    from scrun.lifecycle.container.plan import Plan
    from scrun.lifecycle.container.worker_messages import (
        Allocate,
        ConnectionSettings,
        FromAllocate,
        FromStageIn,
        LoadScript,
    )
    from scrun.lifecycle.process.loop import Loop

    M = TypeVar("M")

# A queued job is looked at by a worker that stays for a while, and then by a new one now and then: a worker's memory
# is twice the anchor's, and a job can wait for hours. Seconds.
FIRST_LOOK_AGAIN, LONGEST_LOOK_AGAIN = 5.0, 30.0

# How far it is.
LOADING = "the script is loaded; there is no job"
ASKING = "the job is asked for, or watched"
LOOKING = "the job is queued, and looked at now and then"
STAGED = "the files are staged"


class Preparation:
    """Get both, then call ``ready``; or ``failed`` with the reason, when nothing is under way any more.

    With ``is_done`` both are there already, and nothing is to be called.

    What it learns goes into the container's record, which ``save`` writes down, and what the workers say to ``tell``.
    """

    def __init__(
        self,
        loop: Loop,
        container: Container,
        *,
        save: Callable[[], object],
        tell: Callable[[ToCreator], None],
        connect: Callable[[], ConnectionSettings],
        ready: Callable[[], None],
        failed: Callable[[ScrunError], None],
        is_done: bool = False,
    ) -> None:
        self._loop, self._container, self._record = loop, container, container.record
        self._save, self._tell, self._connect, self._ready, self._failed = save, tell, connect, ready, failed
        self._plan: Plan = {}  # type: ignore[typeddict-item]  # until begin
        self._failure: ScrunError | None = None
        self._phase = LOADING
        self._waiting = 0  # the timer of the next look at a queued job
        self._pause = FIRST_LOOK_AGAIN
        self._allocating: Worker | None = None
        self._staging: Worker | None = None
        if is_done:
            self._phase = STAGED
            return
        self._allocating = self._allocator()
        self._staging = self._worker("stage in", worker_messages.from_stage_in, self._staging_said, self._staging_ended)

    @property
    def stager(self) -> Worker | None:
        """Who has staged the files: he stays for a while, to run stage_out as well if the container ends soon."""
        return self._staging

    def begin(self, plan: Plan) -> None:
        """Everything local has been checked."""
        self._plan = plan
        if self._staging:
            order: LoadScript = {**hook_request(plan), "bundle": plan["record"]["bundle"]}
            self._staging.send(order)

    def cancel(self, why: ScrunError) -> None:
        """Give it up; ``failed`` is called when both workers have tidied up and gone."""
        self._failure = self._failure or why
        self._loop.forget(self._waiting)
        if self._allocating and self._phase == LOADING:
            self._allocating.kill()  # it may look for a slurm.conf that isn't there for a minute
        elif self._allocating:
            self._allocating.cancel()
        if self._staging:
            self._staging.cancel()
        if not self._allocating and not self._staging:
            self._failed(self._failure)

    def _allocator(self) -> Worker:
        return self._worker("allocate", worker_messages.from_allocate, self._allocation, self._allocation_ended)

    def _worker(
        self, work: str, check: Callable[[object], M], said: Callable[[M], None], ended: Callable[[], None]
    ) -> Worker:
        return Worker(self._loop, self._container, work, check, said=said, ended=ended)

    def _ask(self, look_at: int = 0) -> None:
        """Have the job asked for, or looked at where it is queued."""
        if self._allocating:
            order: Allocate = {"plan": self._plan["job"], "step": self._plan["step_environment"], "look_at": look_at}
            self._allocating.send(order)

    def _allocation(self, message: FromAllocate) -> None:
        if "error" in message:
            error = wire.failed(message)
            if self._phase == LOOKING and not isinstance(error, JobRefused):
                self._tell({"log": "info", "message": f"{error}: looking again later"})  # the job waits all the same
            else:
                self._failure = self._failure or error
        elif "job" in message:
            self._record.update({"job": message["job"], "job_owned": "request" in self._plan["job"]})
            self._save()
        elif "notice" in message:
            self._tell(message)
        elif "waiting" in message:
            self._tell({"waiting": message["waiting"], "job": self._record["job"]})
        elif "nodes" in message:
            found = message["nodes"]
            self._record.update({"nodes": found["nodes"], "tasks": found["tasks"], "slurm": found["slurm"]})
            self._record.update({"uid": found["uid"], "gid": found["gid"]})
            self._record.update({"user": found["user"], "group": found["group"]})
            self._record.update({"job_environment": found["environment"], "gpus": found["gpus"]})
            self._save()
            self._tell({"granted": found["nodes"]})

    def _allocation_ended(self) -> None:
        worker, self._allocating = self._allocating, None
        if self._failure:
            self.cancel(self._failure)
        elif self._record.get("nodes"):
            if self._staging:
                self._staging.send({"record": self._record, "connection": self._connect()})
        elif self._record.get("job"):
            self._waiting = self._loop.after(self._pause, self._look_again)
            self._pause = min(self._pause * 1.5, LONGEST_LOOK_AGAIN)
        else:
            self.cancel(SlurmError(worker.last_words("no answer from Slurm") if worker else ""))

    def _look_again(self) -> None:
        self._phase = LOOKING
        self._allocating = self._allocator()
        self._ask(self._record["job"])

    def _staging_said(self, message: FromStageIn) -> None:
        if "error" in message:
            self._failure = self._failure or wire.failed(message)
        elif "loaded" in message:
            if self._allocating:
                self._phase = ASKING
                self._ask()
        elif "log" in message or "progress" in message:
            self._tell(message)
        elif "staged" in message:
            self._record.update(
                {"staged": message["staged"], "job_bundle": message["bundle"], "job_rootfs": message["rootfs"]}
            )
            self._record.update({"networked": message["networked"], "hold": message["hold"], "stage_out_owed": True})
            self._record.update({"task_prolog": message["task_prolog"]})
            self._record.update({"step_bundle": message["step_bundle"], "init": message["init"]})
            self._record["unconnected"] = message["unconnected"]
            if message["hold"] or message["staged"].get("node_parent") or message["staged"].get("copies"):
                # Whoever is left when the anchor is killed brings back what the container changed.
                self._record["owed"] = hook_request(self._plan)
            self._save()
            self._phase = STAGED
            if not self._failure:
                self._ready()

    def _staging_ended(self) -> None:
        worker, self._staging = self._staging, None
        if worker and (self._failure or self._phase != STAGED):
            self.cancel(self._failure or ScrunError(worker.last_words("the hooks ended without an answer")))
