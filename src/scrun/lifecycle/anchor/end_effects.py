"""What the anchor does at a container's end, or where it can't be created or run: see :mod:`effects`."""

from __future__ import annotations

from scrun import log
from scrun.errors import ScrunError, SlurmUnreachable
from scrun.lifecycle.anchor import launch, signals, trouble
from scrun.lifecycle.anchor.ending import Ending
from scrun.lifecycle.anchor.waiting import Waiting
from scrun.lifecycle.container import owed, status
from scrun.lifecycle.container.directory import PAID
from scrun.lifecycle.process import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.anchor.view import Anchor
    from scrun.lifecycle.container.messages import Answer, Reply

NOT_RUN = 125  # the exit status of a container that could not be run once create had returned; docker's own for that
KILLED = "the container was killed"
STEP_ENDS = 1.0  # seconds that the step has to end by itself when its agent has gone


class EndEffects:
    """The effects that end a container. Beside the anchor's it holds only what nothing but an effect uses."""

    def __init__(self, anchor: Anchor) -> None:
        self._anchor, self._loop, self._record = anchor, anchor.loop, anchor.record
        self._starts: list[Reply] = []  # start's callers, until the process runs
        self._start_limit = 0  # a timer
        self._waiting = Waiting(anchor.container)
        self._failure: ScrunError | None = None  # create's
        self._lost = ""  # why the connection to a node is gone, until that is said
        self._let_go: float | None = None  # the stand-in ends so many seconds after the process, with or without files
        self._ending: Ending | None = None
        self._is_late = False  # the container stopped before its files were back

    @property
    def is_at_rest(self) -> bool:
        """Whether nobody waits for an answer, and the end hasn't begun."""
        waits = self._starts or self._waiting or self._waiting.is_unwanted
        return not waits and self._let_go is None and not self._ending and not self._failure

    # --- a container that can't run

    def cancel(self, error: ScrunError) -> None:
        """Have the preparation given up, for that reason."""
        self._anchor.preparation.cancel(error)

    def cancel_killed(self, *_about: object) -> None:
        """Have the preparation given up, as the container was killed."""
        self.cancel(ScrunError(KILLED))

    def explain(self, error: ScrunError) -> None:
        """Look up what is wrong with the job's nodes, if anything is, for the error."""
        trouble.explain(self._loop, self._anchor.container, error, lambda why: self._anchor.happen("explained", why))

    def explain_killed(self, *_about: object) -> None:
        """Do the same where the container was killed."""
        self.explain(ScrunError(KILLED))

    def withdraw(self, error: ScrunError) -> None:
        """Give back what a container had that isn't created after all."""
        self._failure = error
        self._anchor.stdio.log("error", str(error), system=not self._anchor.creator.is_there)
        self._end().begin(self._anchor.plan)

    def cancel_job(self, _error: ScrunError | None = None) -> None:
        """Give its job back, in which nothing has run."""
        self._end().release(None)

    def fail_create(self, *_about: object) -> None:
        """Tell create why there is no container."""
        self._anchor.standin.let_exit(1)
        self._anchor.creator.tell(wire.failure(self._failure or ScrunError("create failed")))

    def say_why(self, error: ScrunError) -> None:
        """Say the reason on the container's standard error."""
        self._anchor.say(str(error))

    def answer_starts(self) -> None:
        """Answer the callers whose start has waited."""
        self._answer_starts({"started": True})

    def _answer_starts(self, message: Answer) -> None:
        self._loop.forget(self._start_limit)
        while self._starts:
            self._starts.pop()(message)

    # --- kill

    def force(self, *_about: object) -> None:
        """Decide the exit status, as that of SIGKILL: nothing is begun in the container any more."""
        self._force(status.KILLED)

    def force_not_run(self, *_about: object) -> None:
        """Decide the exit status: what the container needs beside its program is lost."""
        self._force(NOT_RUN)

    def force_by_signal(self, number: int, _answer: Reply) -> None:
        """Decide the exit status, as that of the signal: nothing is begun in the container any more."""
        self._force(128 + number)

    def _force(self, exit_status: int) -> None:
        self._anchor.forced = exit_status
        self._record["ending"] = True
        self._anchor.save()  # before whoever asked for it is answered: the record is what exec looks at

    def kill_step(self, *_about: object) -> None:
        """End the process by SIGKILL, and the step if that doesn't help."""
        if self._anchor.step:
            signals.force(self._anchor, self._anchor.step)

    def kill_late(self) -> None:
        """Send SIGKILL to a process that began although the container had been killed."""
        signals.force_late(self._anchor)

    def hasten(self, *_about: object) -> None:
        """Have the stand-in end soon after the process, with or without files: the patience of engines ends."""
        self._hasten(owed.LET_GO)

    def hasten_now(self) -> None:
        """Have nothing wait for the files: the stand-in, for whose parent they were, is gone."""
        self._hasten(0.0)

    def _hasten(self, seconds: float) -> None:
        if not self._anchor.creator.is_attached and self._let_go is None:
            self._let_go = seconds
            if self._ending:
                self._let_go_later(seconds)

    def _let_go_later(self, seconds: float) -> None:
        self._loop.after(seconds, lambda: self._anchor.happen("let_go"))

    def say_directory_gone(self) -> None:
        """Say that the container ends because its directory was removed."""
        self._anchor.say(
            f"{self._anchor.container.path} was removed, so that nobody could find the container any more: it ends. A "
            "logout does that unless its user may linger (loginctl enable-linger)"
        )

    # --- the end of the step

    def fail_program(self, error: ScrunError, exit_status: int) -> None:
        """The program could not be run: tell who has called start, or who reads the container's standard error."""
        self._force(exit_status)
        if not self._starts:
            self._anchor.say(str(error))
        self._answer_starts(wire.failure(error))

    def end_step(self, why: str) -> None:
        """The agent went before the program ran: have the step end, which tells what has happened."""
        self._anchor.log("info", why)
        self.kill_step()

    def await_step(self, why: str) -> None:
        """Let the step end by itself, because Slurm may be ending it and say why; end it where it doesn't."""
        self._lost = why

        def end_step() -> None:
            if self._anchor.step and not self._anchor.step.has_ended:
                self._say_lost()
                self.kill_step()

        self._loop.after(STEP_ENDS, end_step)

    def _say_lost(self) -> None:
        """Tell who reads the container's standard error why it ends, once."""
        why, self._lost = self._lost, ""
        if why:
            self._anchor.say(why)

    def fail_start(self, error: ScrunError) -> None:
        """The step did not start: tell who has called start, or who reads the container's standard error."""
        launch.forget_what_nodes_see()
        if self._anchor.forced is None:
            self._anchor.forced = NOT_RUN
        if not self._starts:
            self._anchor.say(str(error))
        self._answer_starts(wire.failure(error))

    def finish(self, *about: object) -> None:
        """Record the exit status, a kill's or else the program's, and bring back what the container changed."""
        anchor = self._anchor
        if not (anchor.step and anchor.step.progress.cancelled) and not (anchor.nodes and anchor.nodes.said()):
            self._say_lost()  # nobody else has said why it ends
        self._finish(*about[:1])

    def finish_not_run(self, *_about: object) -> None:
        """Do the same for a process that was not run."""
        self._finish(NOT_RUN)

    def _finish(self, exit_status: object = None) -> None:
        if (forced := self._anchor.forced) is not None:
            exit_status = forced
        self._answer_starts(wire.failure(ScrunError(KILLED)))  # of a step that has not begun
        assert isinstance(exit_status, int)
        self._record["exit_status"] = exit_status
        self._end().begin(self._anchor.plan)
        if self._waiting:
            self._end().hurry()
        if self._let_go is not None:
            self._let_go_later(self._let_go)

    # --- the end

    def _end(self) -> Ending:
        if not self._ending:
            anchor = self._anchor
            self._ending = Ending(
                anchor.loop,
                anchor.container,
                stager=anchor.stager,
                log=anchor.stdio.tell,
                keep=anchor.save,
                files_back=lambda error: anchor.happen("files_back", error),
                released=self._released,
            )
        return self._ending

    def _released(self, error: ScrunError | None) -> None:
        if not error:
            self._anchor.happen("released")
        else:
            self._anchor.happen("slurm_silent" if isinstance(error, SlurmUnreachable) else "not_released", error)

    def stop(self, error: ScrunError | None = None) -> None:
        """Record the status "stopped", and let the stand-in end."""
        anchor = self._anchor
        if error:
            anchor.say(str(error))
            # What the container made is lost: that is no success.
            self._record["exit_status"] = self._record["exit_status"] or NOT_RUN
        anchor.stdio.replace([-1, -1, -1])
        self._record["finished"] = log.timestamp()
        anchor.set_status(status.STOPPED)
        if self._record.get("history"):
            from scrun.lifecycle.container import history

            history.leave(anchor.container)
        anchor.standin.let_exit(self._record["exit_status"])

    def release(self, _error: ScrunError | None = None) -> None:
        """Give the job back, as ended with the status, or cancelled where the program didn't decide that."""
        self._end().release(self._record["exit_status"] if self._anchor.forced is None else None)
        self._delete_soon()

    def go_late(self) -> None:
        """Don't wait for the files any more, nor for a stage_out that outlives its job."""
        self._is_late = True
        self._end().hurry()

    def log_lost(self, error: ScrunError | None) -> None:
        """Say which changes of a container that has stopped did not come back, if any."""
        if error:
            self._anchor.stdio.tell("error", str(error))

    def _delete_soon(self) -> None:
        self._loop.after(owed.DELETE, lambda: self._anchor.happen("delete_overdue"))

    def await_end(self, answer: Reply) -> None:
        """Keep delete waiting for the end."""
        self._waiting.add(answer)
        self._delete_soon()
        if self._ending:
            self._ending.hurry()

    def answer_deleted(self, answer: Reply) -> None:
        """Answer delete at once if only the nodes' copies and the job are left to give back, else keep it waiting."""
        if self._is_late or self._record.get("lost") or not self._end().are_files_back:
            self.await_end(answer)
        else:
            self._waiting.answer_deleted(answer)

    def answer_early(self) -> None:
        """Answer delete although the files are not back."""
        if self._ending and self._ending.is_staging_out:
            self._waiting.answer_early()

    def waits_for(self) -> str:
        """What keeps delete waiting, for a person."""
        return self._ending.waits_for() if self._ending else ""

    def log_owed(self, error: ScrunError) -> None:
        """Log that the job could not be given back."""
        self._anchor.log("debug" if self._end().is_repeated else "error", str(error))

    def owe(self, error: ScrunError) -> None:
        """Stay until slurmctld answers, so that no job is left; nobody has to wait for that."""
        self._anchor.creator.drop()
        self._anchor.stdio.replace([-1, -1, -1])
        self._anchor.save()
        self._waiting.answer_owing(error)
        self._end().try_later()

    def settle(self, error: ScrunError | None = None) -> None:
        """Nothing is owed any more: remove the directory of a container that nobody wants, before anybody sees its end.

        Where changes are lost of which nobody was told, it stays: list tells of it, and where they are.
        """
        anchor = self._anchor
        is_creating = anchor.status == status.CREATING
        is_attached = anchor.creator.is_attached and not anchor.plan.get("keep")
        is_kept = self._is_late and bool(self._record.get("lost"))
        if (self._waiting.is_unwanted or is_creating or is_attached) and not is_kept and (is_creating or not error):
            anchor.container.remove()
        elif not anchor.save():
            anchor.container.mark(PAID)

    def leave(self, *_about: object) -> None:
        """Answer all who still wait, and end the loop."""
        self._waiting.answer(self._ended())
        self._anchor.requests.answer_rest()
        self._loop.stop()

    def answer_ended(self, answer: Reply) -> None:
        """Answer that the container has ended."""
        answer(self._ended())

    def _ended(self) -> Answer:
        return {"ended": True, "lost": self._record.get("lost", "")}
