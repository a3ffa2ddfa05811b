"""The anchor: the process that stays with a container from create to its end.

It has the job asked for and the hooks run, each in a worker; starts the container's step; takes requests on a socket;
and when the container has ended, tells the stand-in how, has the job given back and goes. It lives as long as a
container may, so it imports little (a test holds the list) and waits in poll(2).

The order of things is in docs/architecture.md.
"""

from __future__ import annotations

import os

from scrun import log
from scrun.errors import ScrunError, SlurmError, WrongStatus
from scrun.lifecycle import control, kill, processes, status, wire
from scrun.lifecycle.console import Nudge, open_terminal, set_console_size
from scrun.lifecycle.step import Step
from scrun.lifecycle.worker import Worker
from scrun.slurm import srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.container import Container
    from scrun.lifecycle.loop import Loop
    from scrun.lifecycle.wire import Message

    Answer = Callable[[Message], None]

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
        self._standin, self._standin_reader = standin, wire.Reader(standin)
        self._standin_there = True
        self._ready = False  # the job has its nodes and the hooks have run
        self._failure: Exception | None = None
        self._forced: int | None = None  # the exit status that a kill decided
        self._start_answer: Answer | None = None
        self._at_end: list[Answer] = []
        self._stdio: list[int] = [0, 1, 2]
        self._pid_file = -1
        self._patience = 0
        loop.watch(creator, self._from_creator)
        loop.watch(standin, self._from_standin)
        # Both import for some 40 ms what they need while create still reads the config.
        self._allocating: Worker | None = self._worker("allocate", self._allocated, self._allocate_ended)
        self._staging: Worker | None = self._worker("hooks", self._staged, self._staging_ended)
        self._releasing: Worker | None = None

    def log(self, level: str, message: str) -> None:
        """Write to the anchor's own log."""
        line = log.text_line(level, message)
        descriptor = os.open(self.container.child("anchor.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, line.encode("utf-8", "backslashreplace"))
        os.close(descriptor)

    # --- create

    def _from_creator(self) -> None:
        messages = self._creator_reader.read()
        if messages is None:
            self._drop_creator()
            if self.status == status.CREATING:
                self._fail(ScrunError("create was killed"))
            return
        for message in messages:
            if message["do"] == "create":
                self._create(message)
            elif message["do"] == "abort" and self.status == status.CREATING:
                self._fail(ScrunError("create was interrupted"))

    def _create(self, plan: Message) -> None:
        """Everything local has been checked: have the hook script loaded, then ask for the job."""
        self.plan = plan
        self.record.update(plan["record"])
        self.record.update(anchor=os.getpid(), anchor_started=processes.start_time(os.getpid()))
        self.save()
        if plan["patience"]:
            self._patience = self.loop.after(plan["patience"], self._created)
        if plan["new_network_namespace"]:
            wire.send(self._standin, {"do": "new network namespace"})
        if self._staging:
            self._staging.send({"do": "load", "script": plan["script"], "lua": plan["lua"]})

    def _request_job(self) -> None:
        if self._allocating:
            job = self.plan["job"]
            self._allocating.send({"existing": job} if isinstance(job, int) else {"request": job})

    def _allocated(self, message: Message) -> None:
        if "error" in message:
            self._failure = _failure(message)
        elif "job" in message:
            self.record.update(job=message["job"], job_owned=not isinstance(self.plan["job"], int))
            self.save()
        elif "waiting" in message:
            self._tell_creator({"waiting": message["waiting"], "job": self.record["job"]})
        elif "nodes" in message:
            found = message["nodes"]
            self.record.update({key: found[key] for key in ("nodes", "uid", "gid", "user", "group", "tasks")})
            self.record["job_environment"] = found["environment"]
            self.save()

    def _allocate_ended(self) -> None:
        worker, self._allocating = self._allocating, None
        if self._failure or self.status == status.STOPPED or self._forced is not None:
            self._fail(self._failure or ScrunError("the container was killed"))
        elif not self.record.get("nodes"):
            self._fail(SlurmError(_last_words(worker, "no answer from Slurm")))
        elif self._staging:
            self._staging.send({"do": "stage in", "record": self.record, "plan": self.plan["staging"]})

    def _staged(self, message: Message) -> None:
        if "error" in message:
            self._failure = _failure(message)
        elif "loaded" in message:
            self._request_job()
        elif "log" in message:
            self.log(message["log"], message["message"])
            self._tell_creator(message)
        elif "staged" in message:
            self.record.update(staged=message["staged"], job_bundle=message["bundle"], job_rootfs=message["rootfs"])
            self.save()
            self._ready = True

    def _staging_ended(self) -> None:
        worker, self._staging = self._staging, None
        if self._ready:
            self._created()
            if self.status == status.RUNNING:
                self._launch()
        else:
            self._fail(self._failure or ScrunError(_last_words(worker, "the hooks ended without an answer")))

    def _created(self) -> None:
        """Tell the caller that the container is there; its job may still be queued."""
        self.loop.forget(self._patience)
        if self.status != status.CREATING:
            return
        try:
            if self.plan["terminal"]:
                terminal = open_terminal(self.plan["console_socket"], self.plan["console_size"])
                self._replace_stdio([terminal] * 3)
            if self.plan["pid_file"]:
                self._pid_file = _write_pid_file(self.plan["pid_file"], self.record["pid"])
        except ScrunError as error:
            self._fail(error)
            return
        self.set_status(status.CREATED)
        self._tell_creator({"created": True})
        self._drop_creator()

    def _tell_creator(self, message: Message) -> None:
        if self._creator is not None:
            wire.send(self._creator, message)

    def _drop_creator(self) -> None:
        if self._creator is not None:
            self.loop.unwatch(self._creator)
            self._creator = None

    def _fail(self, error: Exception) -> None:
        """The container can't be run. During create the caller is told; later, who reads the container's stderr."""
        self._failure = self._failure or error
        for worker in (self._allocating, self._staging):
            if worker:
                worker.cancel()
        if self._allocating or self._staging:  # their ends call this again; only then is it known what there is
            return
        if self.status == status.CREATING:
            self.log("error", str(self._failure))
            if not self._releasing:
                self._release(None)
        elif self._forced is not None:
            self.finish(self._forced)
        else:
            self.say(str(self._failure))
            self.finish(NOT_RUN)

    # --- start

    def start(self, answer: Answer) -> None:
        """Run the container's process; the answer comes when it runs or has failed to, at once while the job waits."""
        if not status.can_start(self.status):
            answer(wire.failure(WrongStatus(f"cannot start container {self.container.id!r}: it is {self.status}")))
            return
        self.set_status(status.RUNNING)
        if self._ready:
            self._start_answer = answer
            self._launch()
        else:
            answer({"started": True})

    def _launch(self) -> None:
        record, plan = self.record, self.plan

        def command(stderr: int | None) -> list[str]:
            return srun.container_step(
                plan["srun"],
                job=record["job"],
                bundle=record["job_bundle"],
                container_id=self.container.id,
                args=plan["args"],
                pty=plan["terminal"],
                stderr=stderr,
            )

        if plan["terminal"] and record["job_bundle"] != record["bundle"]:
            set_console_size(record["job_bundle"], self._stdio[0])
        self.step = Step(
            self.loop,
            command=command,
            environment={
                **plan["environment"],
                **dict(entry.partition("=")[::2] for entry in record["job_environment"]),
                **plan["step_environment"],
            },
            stdio=self._stdio,
            terminal=plan["terminal"],
            started=self._step_started,
            ended=self._step_ended,
            log=lambda line: self.log("debug", line),
        )
        record.update(step_pid=self.step.pid, step_started=processes.start_time(self.step.pid))
        self.save()
        # From here on only srun has the container's input and output; of standard error one copy stays for our own
        # words.
        self._replace_stdio([-1, -1, self._stdio[2]])

    def _step_started(self, error: SlurmError | None) -> None:
        if error:
            self._forced = NOT_RUN if self._forced is None else self._forced
            if not self._start_answer:
                self.say(str(error))
        elif self.step:
            self.record["step"] = self.step.progress.step
            self.save()
            if self.plan["terminal"]:
                Nudge(self.loop, lambda: self._stdio[2])
        if self._start_answer:
            self._start_answer(wire.failure(error) if error else {"started": True})
            self._start_answer = None

    def _step_ended(self, exit_status: int) -> None:
        self.finish(exit_status if self._forced is None else self._forced)

    # --- kill, and the end

    def kill(self, number: int, answer: Answer) -> None:
        """Send a signal to the container's process."""
        kill.deliver(self, number, answer)

    def end(self, exit_status: int) -> None:
        """Have the container end with that status at once, whatever it does now."""
        if self._forced is None:
            self._forced = exit_status
        if self.step:
            self.step.terminate()
        elif self._allocating or self._staging:
            self._fail(ScrunError("the container was killed"))
        else:
            self.finish(exit_status)

    def finish(self, exit_status: int) -> None:
        """The container has ended: bring back what it changed, then let everybody know."""
        if self.status == status.STOPPED or "exit_status" in self.record:
            return
        self.record["exit_status"] = exit_status
        if not self._releasing:
            self._releasing = self._worker("release", self._released, self._release_ended)
        if self.record.get("staged"):
            self._staging = self._worker("hooks", self._staged_out, self._staging_out_ended)
            self._staging.send({"do": "load", "script": self.plan["script"], "lua": self.plan["lua"]})
        else:
            self._stopped()

    def _staged_out(self, message: Message) -> None:
        if "loaded" in message and self._staging:
            self._staging.send({"do": "stage out", "record": self.record, "plan": self.plan["staging"]})
        elif "log" in message:
            self.log(message["log"], message["message"])
        elif "staged out" in message:
            self.record["staged"] = None
        elif "error" in message:
            self._failure = _failure(message)

    def _staging_out_ended(self) -> None:
        worker, self._staging = self._staging, None
        if self.record["staged"]:
            self.say(str(self._failure or ScrunError(_last_words(worker, "the hooks ended without an answer"))))
            self.record["exit_status"] = (
                self.record["exit_status"] or NOT_RUN
            )  # what it made is lost: that is no success
        self._stopped()

    def _stopped(self) -> None:
        self._replace_stdio([-1, -1, -1])
        self.record["finished"] = log.timestamp()
        self.set_status(status.STOPPED)
        self._tell_standin_to_exit(self.record["exit_status"])
        self._release(self.record["exit_status"] if self._forced is None else None)

    def _tell_standin_to_exit(self, exit_status: int) -> None:
        if self._standin_there:
            self._standin_there = False
            wire.send(self._standin, {"do": "exit", "status": exit_status})
            self.loop.unwatch(self._standin)

    def _release(self, exit_status: int | None) -> None:
        """Give the job back, if it is ours; without a status it is cancelled."""
        if not (self.record.get("job_owned") and not self.record.get("released")):
            self._leave()
            return
        if not self._releasing:
            self._releasing = self._worker("release", self._released, self._release_ended)
        self._releasing.send({"job": self.record["job"], "status": exit_status})

    def _released(self, message: Message) -> None:
        if "error" in message:
            self.log("error", message["message"])
            self._failure = self._failure or _failure(message)
        else:
            self.record["released"] = True

    def _release_ended(self) -> None:
        worker, self._releasing = self._releasing, None
        if not self.record.get("released") and worker and worker.output:
            self.log("error", worker.output)
        self._leave()

    def _leave(self) -> None:
        """The last thing: nothing is owed any more, or could not be paid; delete tries that again."""
        if self._releasing:
            self._releasing.cancel()
        if self.status == status.CREATING:
            self._tell_standin_to_exit(1)
            self.container.remove()
            self._tell_creator(wire.failure(self._failure or ScrunError("create failed")))
        else:
            self.save()
        for answer in self._at_end:
            answer({"ended": True})
        self.loop.stop()

    def at_end(self, answer: Answer) -> None:
        """Answer when the container has ended and its job is given back."""
        self._at_end.append(answer)

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
            elif message.get("answer"):
                self._fail(ScrunError(message["answer"]))

    def _worker(self, work: str, said: Callable[[Message], None], ended: Callable[[], None]) -> Worker:
        return Worker(self.loop, self.container, work, said=said, ended=ended)

    def _replace_stdio(self, stdio: list[int]) -> None:
        """Use these descriptors for the container's; close those that are no longer among them."""
        for descriptor in {*self._stdio} - {*stdio, -1}:
            os.close(descriptor)
            if descriptor <= 2:  # the lowest three stay open, so that nothing else gets such a number
                os.open(os.devnull, os.O_RDWR)
        self._stdio = stdio

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
        """Write the record down; what is there already wins over a full disk."""
        try:
            self.container.save()
        except OSError as error:
            self.say(f"can't write {self.container.path}: {error.strerror}")


def _failure(message: Message) -> Exception:
    try:
        wire.raise_failure(message)
    except ScrunError as error:
        return error
    raise AssertionError(message)


def _last_words(worker: Worker | None, otherwise: str) -> str:
    """What a worker printed before it ended without an answer: libslurm ends its process with a line of its own."""
    lines = worker.output.splitlines() if worker else []
    return lines[-1] if lines else otherwise


def _write_pid_file(path: str, pid: int) -> int:
    """Write the pid file, digits only, and lock it as scrun(1) promises; the descriptor holds the lock.

    Raises:
        ScrunError: it can't be written.
    """
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        os.write(descriptor, str(pid).encode())
    except OSError as error:
        raise ScrunError(f"can't write the pid file {path}: {error.strerror}") from error
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pass  # a file system without locks
    return descriptor
