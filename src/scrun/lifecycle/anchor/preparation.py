"""What a container needs before it can run: its job with nodes, and its files staged there by the hooks.

One worker does it. It is forked at once, and imports what it needs while create still reads the config. The hook script
is loaded before the job is asked for, so that a broken script costs nobody a job. A worker whose job is queued ends
after a while; another one goes on when the job has its nodes.
"""

from __future__ import annotations

import os

from scrun.errors import JobRefused, ScrunError, SlurmError
from scrun.lifecycle.anchor.worker import Worker
from scrun.lifecycle.container import queued_jobs, worker_messages
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
        FromLook,
        FromPrepare,
        LoadScript,
        Look,
    )
    from scrun.lifecycle.process.loop import Loop

    M = TypeVar("M")

# A queued job is looked at by the worker that has asked for it, and then by a new one now and then: a worker's memory
# is twice the anchor's, and a job can wait for days. Seconds.
FIRST_LOOK_AGAIN, LONGEST_LOOK_AGAIN = 3.0, 15.0


def begin_worker(loop: Loop, container: Container) -> Worker:
    """Begin the worker, before there is anybody who hears it: it imports first what it needs, for some 20 ms."""
    return Worker(
        loop, container, "prepare", worker_messages.from_prepare, said=lambda _message: None, ended=lambda: None
    )


class Preparation:
    """Get both, then call ``ready``; or ``failed`` with the reason, when nothing is under way any more.

    With ``is_done`` both are there already, and nothing is to be called.

    What it learns goes into the container's record, which ``save`` writes down, and what the workers say to ``tell``.
    ``worker`` is the one that was begun already, if one was.
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
        worker: Worker | None = None,
        is_done: bool = False,
    ) -> None:
        self._loop, self._container, self._record = loop, container, container.record
        self._save, self._tell, self._connect, self._ready, self._failed = save, tell, connect, ready, failed
        self._plan: Plan = {}  # type: ignore[typeddict-item]  # until begin
        self._failure: ScrunError | None = None
        self._is_asked = False  # the job has been asked for, or there is one to use
        self._is_queued = False  # the worker that prepares has left the job to others
        self._is_granted = False  # the worker that looks has seen nodes
        self._is_staged = False
        self._waiting = 0  # the timer of the next look at a queued job
        self._pause = FIRST_LOOK_AGAIN
        self._looking: Worker | None = None
        self._preparing: Worker | None = None
        if is_done:
            self._is_staged = True
            return
        if worker:
            worker.hand_over(worker_messages.from_prepare, self._preparing_said, self._preparing_ended)
        self._preparing = worker or self._begin_preparing()

    @property
    def stager(self) -> Worker | None:
        """Who has staged the files: he stays for a while, to run stage_out as well if the container ends soon."""
        return self._preparing

    def begin(self, plan: Plan) -> None:
        """Everything local has been checked."""
        self._plan = plan
        if self._preparing:
            self._load_script(self._preparing)

    def cancel(self, why: ScrunError) -> None:
        """Give it up; ``failed`` is called when all workers have tidied up and gone."""
        self._failure = self._failure or why
        self._loop.forget(self._waiting)
        for worker in (self._looking, self._preparing):
            if worker:
                worker.cancel()
        if not self._looking and not self._preparing:
            self._failed(self._failure)

    def _worker(
        self, work: str, check: Callable[[object], M], said: Callable[[M], None], ended: Callable[[], None]
    ) -> Worker:
        return Worker(self._loop, self._container, work, check, said=said, ended=ended)

    def _begin_preparing(self) -> Worker:
        return self._worker("prepare", worker_messages.from_prepare, self._preparing_said, self._preparing_ended)

    def _load_script(self, worker: Worker) -> None:
        order: LoadScript = {**hook_request(self._plan), "bundle": self._plan["record"]["bundle"]}
        worker.send(order)

    def _ask(self, worker: Worker) -> None:
        """Have the job asked for or, where it was asked for already, looked at."""
        look_at = self._record["job"] if self._is_asked else 0
        order: Allocate = {"plan": self._plan["job"], "step": self._plan["step_environment"], "look_at": look_at}
        worker.send(order)

    def _looking_said(self, message: FromLook) -> None:
        if "has_nodes" in message:
            self._is_granted = message["has_nodes"]
        elif "error" in message:
            error = wire.failed(message)
            if isinstance(error, JobRefused):
                self._failure = self._failure or error
            else:  # the job waits all the same
                self._tell({"log": "info", "message": f"{error}: looking again later"})

    def _learn(self, message: FromAllocate) -> None:
        """Learn something of the job."""
        if "error" in message:
            self._failure = self._failure or wire.failed(message)
        elif "job" in message:
            self._is_asked = True
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
            if self._preparing and not self._failure:
                self._preparing.send({"record": self._record, "connection": self._connect()})

    def _looking_ended(self) -> None:
        self._looking = None
        if self._failure:
            self.cancel(self._failure)
        elif self._is_granted:
            self._is_granted = False
            self._preparing = self._begin_preparing()
            self._load_script(self._preparing)
        else:
            self._look_later()

    def _look_later(self) -> None:
        self._waiting = self._loop.after(self._pause, self._look_again)
        self._pause = min(self._pause * 1.5, LONGEST_LOOK_AGAIN)

    def _look_again(self) -> None:
        if queued_jobs.is_queued(os.path.dirname(self._container.path), self._record["job"]):
            self._look_later()  # another container has asked
            return
        self._looking = self._worker("look", worker_messages.from_look, self._looking_said, self._looking_ended)
        order: Look = {"job": self._record["job"], "queued": True}
        self._looking.send(order)

    def _preparing_said(self, message: FromPrepare) -> None:
        if "loaded" in message:
            if self._preparing and not self._failure:
                self._ask(self._preparing)
        elif "still_queued" in message:
            self._is_queued = True
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
            self._record["network"] = self._plan["staging"]["network"] = message["network"]
            self._plan["staging"]["login"] = message["login"]
            self._record["network_user"] = message["network_user"]
            if message["network_links"]:
                self._record["network_links"] = message["network_links"]
            self._record["remark"] = message["remark"]
            if message["hold"] or message["staged"].get("node_parent") or message["staged"].get("copies"):
                # Whoever is left when the anchor is killed brings back what the container changed.
                self._record["owed"] = hook_request(self._plan)
            self._save()
            self._is_staged = True
            if not self._failure:
                self._ready()
        else:
            self._learn(message)

    def _preparing_ended(self) -> None:
        worker, self._preparing = self._preparing, None
        if self._failure:
            self.cancel(self._failure)
        elif self._is_queued:
            self._is_queued = False
            self._look_later()
        elif worker and not self._is_staged:
            if self._record.get("nodes"):
                self.cancel(ScrunError(worker.last_words("the hooks ended without an answer")))
            else:
                self.cancel(SlurmError(worker.last_words("no answer from Slurm")))
