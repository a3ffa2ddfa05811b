"""The anchor: the process that stays with a container from create to its end.

It has the job asked for and the hooks run (:mod:`preparation`), starts the container's step, takes requests on a
socket, and when the container has ended, tells the stand-in how and has the job given back (:mod:`ending`). It lives
as long as a container may, so it imports little (a test holds the list) and waits in poll(2).

The order of things is in docs/architecture.md.
"""

from __future__ import annotations

import os

from scrun import log
from scrun.errors import ScrunError, SlurmUnreachable, UsageError, WrongStatus
from scrun.lifecycle.anchor import launch, removal, server, signals, vigil
from scrun.lifecycle.anchor.creator import Creator
from scrun.lifecycle.anchor.ending import Ending
from scrun.lifecycle.anchor.notices import Notices
from scrun.lifecycle.anchor.preparation import Preparation
from scrun.lifecycle.anchor.running import NOT_RUN, Running
from scrun.lifecycle.anchor.standin_link import StandinLink
from scrun.lifecycle.anchor.stdio import Stdio
from scrun.lifecycle.anchor.waiting import Waiting
from scrun.lifecycle.container import owed, status
from scrun.lifecycle.container.directory import PAID
from scrun.lifecycle.process import processes, wire
from scrun.lifecycle.process.pid_file import write_pid_file
from scrun.lifecycle.terminal.console import open_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.anchor.worker import Worker
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.messages import Reply, ToCreator
    from scrun.lifecycle.container.plan import Plan
    from scrun.lifecycle.node.step import Step
    from scrun.lifecycle.process.loop import Loop


class Anchor:
    """The state of one container's life; everything in it happens in the one loop."""

    def __init__(self, loop: Loop, container: Container, creator: int, standin: int, standin_pid: int) -> None:
        self.loop, self.container, self.record = loop, container, container.record
        self.record.update({"pid": standin_pid, "pid_started": processes.start_time(standin_pid)})
        self.status = status.CREATING
        self.plan: Plan = {}  # type: ignore[typeddict-item]  # until create has sent it
        self.requests = server.serve(loop, container, self, creator)
        self._due = False  # the caller is to be told that the container is there
        self._prepared = False
        self._failure: ScrunError | None = None
        self.forced: int | None = None  # the exit status that a kill decided
        self.is_turning = False  # to paused, or back
        self._waiting = Waiting(container)
        self._hurry: float | None = None  # the stand-in ends so many seconds after the process, with or without files
        self._unsaved = False  # said already
        self.stdio = Stdio(container)
        self.log, self.say = self.stdio.log, self.stdio.say
        self._notices = Notices(container, self.say)
        self._pid_file, self._patience = -1, 0
        left = lambda: self.log("debug", "the container goes on without who created it")  # noqa: E731
        self._creator = Creator(loop, creator, create=self._create, abort=self._abort, left=left)
        self._standin = StandinLink(
            *(loop, standin),
            ready=self._standin_ready,
            failed=self.give_up,
            kill=lambda number: self.kill(number, lambda _answer: None),
            gone=self._standin_gone,
        )
        self._preparation: Preparation | None = Preparation(
            loop, container, save=self.save, tell=self._tell, ready=self._ready, failed=self._not_prepared
        )
        self._running = Running(self)
        self._stager: Worker | None = None
        self._ending: Ending | None = None

    # --- create

    def _abort(self, why: ScrunError) -> None:
        """Who creates the container has gone or wants it no more; after create that matters only to one who stays."""
        if self.status == status.CREATING:
            self.give_up(why)
        elif self._creator.is_attached:
            self.end(status.KILLED)

    def _create(self, plan: Plan) -> None:
        self.plan = plan
        self.stdio.levels = plan["log_levels"]
        self.record.update(plan["record"])
        self.record.update({"anchor": os.getpid(), "anchor_started": processes.start_time(os.getpid())})
        if not self.save():
            return
        removal.watch(self)
        if plan["patience"]:
            self._patience = self.loop.after(plan["patience"], self._created)
        self._standin.move(pid=self._is_podmans(), network=plan["new_network_namespace"], hook=plan["network_hook"])
        if self._preparation:
            self._preparation.begin(plan)

    def _tell(self, message: ToCreator) -> None:
        """What the workers have to say: to the log, and to create's caller while there is one."""
        self._notices.hear(message)
        self.stdio.note(message)
        self._creator.tell(message)

    def _ready(self) -> None:
        """The job has its nodes, and the files are staged."""
        self._stager = self._preparation.stager if self._preparation else None
        self._preparation, self._prepared = None, True
        try:
            launch.check_terminal(self.plan, self.record)
        except UsageError as error:
            self.give_up(error)
            return
        if self.status == status.CREATING:
            self._created()
        else:
            self._show_podman()  # now that it is known where the files are
        if self.status == status.RUNNING:
            self._running.launch()

    def _created(self) -> None:
        """Tell the caller that the container is there; its job may still be queued."""
        self.loop.forget(self._patience)
        self._due = True
        if self.status != status.CREATING or not self._standin.is_ready:
            return
        try:
            if self.plan["terminal"]:
                terminal = open_terminal(self.plan["console_socket"], self.plan["console_size"])
                self.stdio.replace([terminal] * 3)
            if self.plan["pid_file"]:
                self._pid_file = write_pid_file(self.plan["pid_file"], self.record["pid"])
        except ScrunError as error:
            self.give_up(error)
            return
        self.record["status"] = status.CREATED
        if not self.save():
            return
        self.status = status.CREATED
        vigil.keep(self)
        self._creator.created()
        self._show_podman()

    def _standin_ready(self, pid: int) -> None:
        if pid:  # it had to begin anew
            self.record.update({"pid": pid, "pid_started": processes.start_time(pid)})
            if not self.save():
                return
        if self._due:
            self._created()

    def _is_podmans(self) -> bool:
        """Whether podman may look into the stand-in; an attached one is a person's, and its parent waits for it."""
        return not self._creator.is_attached and self.record["annotations"].get("io.container.manager") == "libpod"

    def _show_podman(self) -> None:
        """Have podman find, where it looks by itself, nothing of this host but the files that the container runs on."""
        if self._is_podmans():
            self._standin.show_podman(rootfs=self._prepared and launch.is_rootfs_here(self.record))

    def give_up(self, error: ScrunError) -> None:
        """The container can't be run, for that reason."""
        if self._preparation:
            self._preparation.cancel(error)
        else:
            self._not_prepared(error)

    def _not_prepared(self, error: ScrunError) -> None:
        """Nothing is under way any more. During create the caller is told; later, who reads the container's stderr."""
        self._preparation = None
        self.explain(error, self._fail)

    def explain(self, error: ScrunError, told: Callable[[ScrunError], None]) -> None:
        """Call ``told`` with the error, and with what is wrong with the job's nodes, if anything is."""
        from scrun.lifecycle.anchor import trouble

        trouble.explain(self.loop, self.container, error, told)

    def _fail(self, error: ScrunError) -> None:
        if self._failure:
            return  # somebody gave it up while the first reason was being explained, or the other way round
        self._failure = error
        if self.status == status.CREATING:
            self.log("error", str(self._failure), system=not self._creator.is_there)
            self._end().begin(self.plan)
        elif self.forced is not None:
            self.finish(self.forced)
        else:
            self.say(str(self._failure))
            self.finish(NOT_RUN)

    # --- start

    @property
    def step(self) -> Step | None:
        """The container's step; None until there is one."""
        return self._running.step

    def start(self, answer: Reply) -> None:
        """Run the container's process; the answer comes when it runs or has failed to, at once while the job waits."""
        now = self.container.phase()
        if not status.can_start(now):
            answer(wire.failure(WrongStatus(f"cannot start container {self.container.id!r}: it is {now}")))
            return
        self.set_status(status.RUNNING)
        if self._prepared:
            self._running.answer_later(answer)
            self._running.launch()
        else:
            self._notices.started()
            answer({"started": True})

    # --- kill, and the end

    def kill(self, number: int, answer: Reply) -> None:
        """Send a signal to the container's process."""
        signals.deliver(self, number, answer)

    def end(self, exit_status: int) -> None:
        """Have the container end with that status at once, whatever it does now."""
        if self.forced is not None or "exit_status" in self.record:
            return
        self.forced = exit_status
        if self.status != status.CREATING:
            self.record["ending"] = True
            self.save()  # before whoever asked for it is answered: the record is what exec looks at
        if self.step:
            signals.force(self, self.step)
        else:
            self.give_up(ScrunError("the container was killed"))

    def hurry(self, seconds: float) -> None:
        """Have the stand-in end that long after the process, with or without files: engines' patience ends soon."""
        if not self._creator.is_attached and self._hurry is None:
            self._hurry = seconds
            if self._ending:
                self._ending.hasten(let_go=seconds)

    def _standin_gone(self) -> None:
        """It was killed: nobody waits for the files."""
        self.hurry(0.0)
        self.end(status.KILLED)

    def at_end(self, answer: Reply) -> None:
        """Answer when the container has ended and its job is given back, or that can't be done now.

        Where the stand-in has ended before the files are back, that takes :data:`owed.DELETE` seconds at most.
        """
        self._waiting.add(answer)
        self.loop.after(owed.DELETE, self._answer_early)
        if self._ending:
            self._ending.hurry()

    def _answer_early(self) -> None:
        if self.status == status.STOPPED and self._ending and self._ending.is_staging_out:
            self._waiting.answer_early()

    def waits_for(self) -> str:
        """What keeps it from its end, for a person who waits for that."""
        return self._ending.waits_for() if self._ending else ""

    def _end(self) -> Ending:
        if not self._ending:
            self._ending = Ending(
                self.loop,
                self.container,
                stager=self._stager,
                log=self.stdio.tell,
                keep=self.save,
                files_back=self._files_back,
                released=self._leave,
            )
        return self._ending

    def finish(self, exit_status: int) -> None:
        """The container has ended: bring back what it changed, then let everybody know."""
        self._running.answer(ScrunError("the container was killed"))  # before its step began
        if "exit_status" not in self.record:
            self.record["exit_status"] = exit_status
            self._end().begin(self.plan)
            self._end().hasten(waited_for=bool(self._waiting), let_go=self._hurry)

    def _files_back(self, error: ScrunError | None) -> None:
        if self.status == status.CREATING:
            self._end().release(None)
            return
        if error:
            self.say(str(error))
            # What the container made is lost: that is no success.
            self.record["exit_status"] = self.record["exit_status"] or NOT_RUN
        self.stdio.replace([-1, -1, -1])
        self.record["finished"] = log.timestamp()
        self.set_status(status.STOPPED)
        if self.record.get("history"):
            from scrun.lifecycle.container import history

            history.leave(self.container)
        self._standin.let_exit(self.record["exit_status"])
        self._end().release(self.record["exit_status"] if self.forced is None else None)
        self.loop.after(owed.DELETE, self._answer_early)

    def _leave(self, error: ScrunError | None) -> None:
        """The last thing: nothing is owed any more, or it could not be paid."""
        if error:
            self.log("debug" if self._end().is_repeated else "error", str(error))
        is_creating, owes = self.status == status.CREATING, isinstance(error, SlurmUnreachable)
        unwanted = self._waiting.is_unwanted or is_creating or (self._creator.is_attached and not self.plan["keep"])
        is_kept = self._end().is_late and bool(self.record.get("lost"))  # list tells of it, and where it is
        if unwanted and not owes and not is_kept and (is_creating or not error):
            self.container.remove()  # before anybody sees an end of it
        elif not owes and not self.save():
            self.container.mark(PAID)
        if is_creating:
            self._standin.let_exit(1)
            self._creator.tell(wire.failure(self._failure or ScrunError("create failed")))
        if error and owes:  # stay until slurmctld answers, so that no job is left
            self._creator.drop()
            self.stdio.replace([-1, -1, -1])
            self.save()
            self._waiting.answer_owing(error)
            self._end().try_later()
        else:
            self._waiting.answer({"ended": True, "lost": self.record.get("lost", "")})
            self.requests.answer_rest()
            self.loop.stop()

    # --- the rest

    def set_status(self, new: str) -> None:
        """Enter a status, and write it down."""
        self.status = self.record["status"] = new
        self.save()

    def save(self) -> bool:
        """Write the record down, and say whether that was done.

        A container that can't be written down isn't created: nobody could find its job. Later a full disk must not
        change what becomes of it; that is said once.
        """
        try:
            self.container.save()
        except OSError as error:
            why = f"can't write {self.container.path}: {error.strerror}"
            if self.status == status.CREATING and not self._ending:
                self.give_up(ScrunError(why))
            elif not self._unsaved:
                self._unsaved = True
                self.say(why)
            return False
        return True
