"""The anchor: the process that stays with a container from create to its end.

It has the job asked for and the hooks run (:mod:`preparation`), starts the container's step, takes requests on a
socket, and when the container has ended, tells the stand-in how and has the job given back (:mod:`ending`). It lives
as long as a container may, so it imports little (a test holds the list) and waits in poll(2).

The order of things is in docs/architecture.md.
"""

from __future__ import annotations

import os

from scrun import log
from scrun.errors import ScrunError, SlurmError, UsageError, WrongStatus
from scrun.lifecycle import control, kill, launch, processes, status, wire
from scrun.lifecycle.console import Nudge, open_terminal
from scrun.lifecycle.ending import Ending
from scrun.lifecycle.pid_file import write_pid_file
from scrun.lifecycle.preparation import Preparation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.container import Container
    from scrun.lifecycle.loop import Loop
    from scrun.lifecycle.step import Step
    from scrun.lifecycle.wire import Message
    from scrun.lifecycle.worker import Worker

    Answer = Callable[[Message], None]

# Seconds that start waits for the process to run (a site's prolog can be slow): meanwhile docker and podman hold the
# container's lock.
START_LIMIT = 20.0
NOT_RUN = 125  # the exit status of a container that could not be run once create had returned; docker's own for that


class Anchor:
    """The state of one container's life; everything in it happens in the one loop."""

    def __init__(self, loop: Loop, container: Container, creator: int, standin: int, standin_pid: int) -> None:
        self.loop, self.container, self.record = loop, container, container.record
        self.record.update(pid=standin_pid, pid_started=processes.start_time(standin_pid))
        self.status = status.CREATING
        self.plan: Message = {}
        self.step: Step | None = None
        self.requests = control.Server(loop, container, self)
        self._creator: int | None = creator
        self._creator_reader = wire.Reader(creator)
        self._attached = False  # to its creator, who stays until the container has ended
        self._standin, self._standin_reader = standin, wire.Reader(standin)
        self._standin_there = True
        self._standin_ready = False  # it is where it shall be
        self._due = False  # the caller is to be told that the container is there
        self._prepared = False
        self._failure: ScrunError | None = None
        self._forced: int | None = None  # the exit status that a kill decided
        self.is_turning = False  # to paused, or back
        self._start_answer: Answer | None = None
        self._at_end: list[Answer] = []
        self._stdio: list[int] = [0, 1, 2]
        self._pid_file = -1
        self._patience = 0
        loop.watch(creator, self._from_creator)
        loop.watch(standin, self._from_standin)
        self._preparation: Preparation | None = Preparation(
            loop, container, save=self.save, tell=self._tell, ready=self._ready, failed=self._not_prepared
        )
        self._stager: Worker | None = None
        self._ending: Ending | None = None

    # --- create

    def _from_creator(self) -> None:
        messages = self._creator_reader.read()
        if messages is None:
            self._drop_creator()
            self._abort(ScrunError("create was killed"))
            return
        for message in messages:
            if message["do"] == "create":
                self._create(message)
            elif message["do"] == "abort":
                self._abort(ScrunError("create was interrupted"))
            elif message["do"] == "leave alone":
                self._attached = False
                self._drop_creator()

    def _abort(self, why: ScrunError) -> None:
        """Who creates the container has gone or wants it no more; after create that matters only to one who stays."""
        if self.status == status.CREATING:
            self._give_up(why)
        elif self._attached:
            self.end(control.KILLED)

    def _create(self, plan: Message) -> None:
        self.plan = plan
        self._attached = plan["attached"]
        self.record.update(plan["record"])
        self.record.update(anchor=os.getpid(), anchor_started=processes.start_time(os.getpid()))
        self.save()
        if plan["patience"]:
            self._patience = self.loop.after(plan["patience"], self._created)
        if plan["new_network_namespace"] or self._is_podmans():
            moves = {"pid": self._is_podmans(), "network": plan["new_network_namespace"]}
            wire.send(self._standin, {"do": "new namespaces", **moves})
        else:
            self._standin_ready = True
        if self._preparation:
            self._preparation.begin(plan)

    def _tell(self, message: Message) -> None:
        """What the workers have to say: to the log, and to create's caller while there is one."""
        if "log" in message:
            self.log(message["log"], message["message"])
        elif "progress" in message:
            self.log("debug", message["progress"])
        if self._creator is not None:
            wire.send(self._creator, message)

    def _ready(self) -> None:
        """The job has its nodes, and the files are staged."""
        self._stager = self._preparation.stager if self._preparation else None
        self._preparation = None
        self._prepared = True
        if self.plan["terminal"] and (tasks := launch.tasks(self.plan, self.record)) > 1:
            # srun gives it to the first only, and the others' runtime fails: their config asks for one too.
            self._give_up(
                UsageError(
                    f"a terminal can't be shared by {tasks} tasks: do without it (-t), or ask for one task "
                    "(SCRUN_NTASKS=1, SCRUN_JOB_NUM_NODES=1)"
                )
            )
            return
        if self.status == status.CREATING:
            self._created()
        else:
            self._show_podman()  # now that it is known where the files are
        if self.status == status.RUNNING:
            self._launch()

    def _created(self) -> None:
        """Tell the caller that the container is there; its job may still be queued."""
        self.loop.forget(self._patience)
        self._due = True
        if self.status != status.CREATING or not self._standin_ready:
            return
        try:
            if self.plan["terminal"]:
                terminal = open_terminal(self.plan["console_socket"], self.plan["console_size"])
                self._replace_stdio([terminal] * 3)
            if self.plan["pid_file"]:
                self._pid_file = write_pid_file(self.plan["pid_file"], self.record["pid"])
        except ScrunError as error:
            self._give_up(error)
            return
        self.set_status(status.CREATED)
        if self._creator is not None:
            wire.send(self._creator, {"created": True})
        if not self._attached:
            self._drop_creator()
        self._show_podman()

    def _is_podmans(self) -> bool:
        """Whether podman may look into the stand-in; an attached one is a person's, and its parent waits for it."""
        return not self._attached and self.record["annotations"].get("io.container.manager") == "libpod"

    def _show_podman(self) -> None:
        """Have podman find, where it looks by itself, nothing of this host but the files that the container runs on."""
        if self._is_podmans() and self._standin_there:
            rootfs = self._prepared and launch.is_rootfs_here(self.record)
            wire.send(self._standin, {"do": "show podman", "rootfs": rootfs})

    def _drop_creator(self) -> None:
        if self._creator is not None:
            self.loop.unwatch(self._creator)
            self._creator = None

    def _give_up(self, error: ScrunError) -> None:
        """The container can't be run, for that reason."""
        if self._preparation:
            self._preparation.cancel(error)
        else:
            self._not_prepared(error)

    def _not_prepared(self, error: ScrunError) -> None:
        """Nothing is under way any more. During create the caller is told; later, who reads the container's stderr."""
        self._preparation = None
        self._failure = self._failure or error
        if self.status == status.CREATING:
            self.log("error", str(self._failure), system=self._creator is None)
            self._end().begin(self.plan)
        elif self._forced is not None:
            self._finish(self._forced)
        else:
            self.say(str(self._failure))
            self._finish(NOT_RUN)

    # --- start

    def start(self, answer: Answer) -> None:
        """Run the container's process; the answer comes when it runs or has failed to, at once while the job waits."""
        if not status.can_start(self.status):
            answer(wire.failure(WrongStatus(f"cannot start container {self.container.id!r}: it is {self.status}")))
            return
        self.set_status(status.RUNNING)
        if self._prepared:
            self._start_answer = answer
            self.loop.after(START_LIMIT, lambda: self._answer_start(None))
            self._launch()
        else:
            answer({"started": True})

    def _launch(self) -> None:
        launch.renew_files(self.loop, self.container, self.plan, log=self.log, done=self._run_step)

    def _run_step(self) -> None:
        if self.status != status.RUNNING or self._forced is not None:
            return  # it was killed meanwhile
        self.step = launch.step(
            self.loop,
            self.container,
            self.plan,
            self._stdio,
            log=self.log,
            started=self._step_started,
            ended=lambda exit_status: self._finish(exit_status if self._forced is None else self._forced),
            failed=self._task_failed,
        )
        self.record.update(step_pid=self.step.pid, step_started=processes.start_time(self.step.pid))
        self.save()
        # From here on only srun has the container's input and output; one copy of standard error is for our own words.
        self._replace_stdio([-1, -1, self._stdio[2]])

    def _step_started(self, error: SlurmError | None) -> None:
        if error:
            from scrun.staging import known

            known.forget(known.memory())  # perhaps the node doesn't see what it did
            self._forced = NOT_RUN if self._forced is None else self._forced
            if not self._start_answer:
                self.say(str(error))
        elif self.step:
            progress = self.step.progress
            self.record.update(step=progress.step, **progress.tasks_of_record(), started=log.timestamp())
            self.save()
            if self.plan["terminal"]:
                Nudge(self.loop, lambda: self._stdio[2])
        self._answer_start(error)

    def _answer_start(self, error: ScrunError | None) -> None:
        """Answer whoever called start, once; what goes wrong later is said on the container's standard error."""
        if self._start_answer:
            self._start_answer(wire.failure(error) if error else {"started": True})
            self._start_answer = None

    def _task_failed(self, how: str) -> None:
        """One of several: the exit status alone would not tell which, nor on which node."""
        if self._forced is None and not self.plan["terminal"]:
            self.say(how)

    # --- kill, and the end

    def kill(self, number: int, answer: Answer) -> None:
        """Send a signal to the container's process."""
        kill.deliver(self, number, answer)

    def end(self, exit_status: int) -> None:
        """Have the container end with that status at once, whatever it does now."""
        if self._forced is not None or "exit_status" in self.record:
            return
        self._forced = exit_status
        if self.step:
            kill.force(self, self.step)
        else:
            self._give_up(ScrunError("the container was killed"))

    def at_end(self, answer: Answer) -> None:
        """Answer when the container has ended and its job is given back."""
        self._at_end.append(answer)

    def _end(self) -> Ending:
        if not self._ending:
            self._ending = Ending(
                self.loop,
                self.container,
                stager=self._stager,
                log=self._told,
                files_back=self._files_back,
                released=self._leave,
            )
        return self._ending

    def _finish(self, exit_status: int) -> None:
        """The container has ended: bring back what it changed, then let everybody know."""
        self._answer_start(ScrunError("the container was killed"))  # before its step began
        if "exit_status" not in self.record:
            self.record["exit_status"] = exit_status
            self._end().begin(self.plan)

    def _files_back(self, error: ScrunError | None) -> None:
        if self.status == status.CREATING:
            self._end().release(None)
            return
        if error:
            self.say(str(error))
            # What the container made is lost: that is no success.
            self.record["exit_status"] = self.record["exit_status"] or NOT_RUN
        self._replace_stdio([-1, -1, -1])
        self.record["finished"] = log.timestamp()
        self.set_status(status.STOPPED)
        self._let_standin_exit(self.record["exit_status"])
        self._end().release(self.record["exit_status"] if self._forced is None else None)

    def _let_standin_exit(self, exit_status: int) -> None:
        if self._standin_there:
            self._standin_there = False
            wire.send(self._standin, {"do": "exit", "status": exit_status})
            self.loop.unwatch(self._standin)

    def _leave(self, error: ScrunError | None) -> None:
        """The last thing: nothing is owed any more, or it could not be paid, and delete tries again."""
        if error:
            self.log("error", str(error))
        if self.status == status.CREATING:
            self.container.remove()  # before anybody sees an end of it
            self._let_standin_exit(1)
            if self._creator is not None:
                wire.send(self._creator, wire.failure(self._failure or ScrunError("create failed")))
        elif self._attached and not self.plan["keep"] and not error:
            self.container.remove()
        else:
            self.save()
        for answer in self._at_end:
            answer({"ended": True})
        self.loop.stop()

    # --- the rest

    def _from_standin(self) -> None:
        messages = self._standin_reader.read()
        if messages is None:  # it was killed: docker does so when the container doesn't end in time
            self._standin_there = False
            self.loop.unwatch(self._standin)
            self.end(control.KILLED)
            return
        for message in messages:
            if message.get("do") == "kill":
                self.kill(message["signal"], lambda _answer: None)
            elif message["answer"]:
                self._give_up(ScrunError(message["answer"]))
            else:
                if message["pid"]:  # it had to begin anew
                    self.record.update(pid=message["pid"], pid_started=processes.start_time(message["pid"]))
                    self.save()
                self._standin_ready = True
                if self._due:
                    self._created()

    def _replace_stdio(self, stdio: list[int]) -> None:
        """Use these descriptors for the container's; close those that are no longer among them."""
        for descriptor in {*self._stdio} - {*stdio, -1}:
            os.close(descriptor)
            if descriptor <= 2:  # the lowest three stay open, so that nothing else gets such a number
                os.open(os.devnull, os.O_RDWR)
        self._stdio = stdio

    def log(self, level: str, message: str, *, system: bool = True) -> None:
        """Write to the anchor's own log, and to syslog unless somebody else does, as far as its levels let through."""
        in_file, in_syslog = self.plan.get("log_levels", ("debug", "quiet"))
        if log.rank(level) <= log.rank(in_file):
            log.append(self.container.child("anchor.log"), level, message)
        if system and log.rank(level) <= log.rank(in_syslog):
            log.to_syslog(level, f"container {self.container.id}: {message}", log.DAEMON)

    def _told(self, level: str, message: str) -> None:
        """What stage_out has to say: changes that did not come back are for who runs the container, too."""
        if level == "error":
            self.say(message)
        else:
            self.log(level, message)

    def say(self, message: str) -> None:
        """Tell who reads the container's standard error."""
        self.log("error", message)
        if self._stdio[2] >= 0:
            try:
                os.write(self._stdio[2], f"scrun: {message}\n".encode("utf-8", "backslashreplace"))
            except OSError:
                pass

    def set_status(self, new: str) -> None:
        """Enter a status, and write it down."""
        self.status = self.record["status"] = new
        self.save()

    def save(self) -> None:
        """Write the record down; a full disk must not change what becomes of the container."""
        try:
            self.container.save()
        except OSError as error:
            self.say(f"can't write {self.container.path}: {error.strerror}")
