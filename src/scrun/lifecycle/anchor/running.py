"""From start's request to the end of the container's step."""

from __future__ import annotations

from scrun import log
from scrun.errors import ScrunError
from scrun.lifecycle.anchor import launch, signals
from scrun.lifecycle.container import status
from scrun.lifecycle.process import processes, wire
from scrun.lifecycle.terminal.console import Nudge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.errors import SlurmError
    from scrun.lifecycle.anchor.view import Anchor
    from scrun.lifecycle.container.messages import Answer, Reply
    from scrun.lifecycle.node.step import Step


# Seconds that start waits for the process to run (a site's prolog can be slow): meanwhile docker and podman hold the
# container's lock.
START_LIMIT = 20.0
NOT_RUN = 125  # the exit status of a container that could not be run once create had returned; docker's own for that


class Running:
    """The container's step, once the container was started; ``step`` is None until its job and its files are there."""

    def __init__(self, anchor: Anchor) -> None:
        self.step: Step | None = None
        self._anchor = anchor
        self._answer: Reply | None = None
        self._error: SlurmError | None = None

    def answer_later(self, answer: Reply) -> None:
        """Answer start when the process runs or has failed to, or when that takes longer than engines wait."""
        self._answer = answer
        self._anchor.loop.after(START_LIMIT, lambda: self.answer(None))

    def launch(self) -> None:
        """Have the step begin, with the small files as they are by now."""
        anchor = self._anchor
        launch.renew_files(anchor.loop, anchor.container, anchor.plan, log=anchor.log, done=self._run)

    def answer(self, error: ScrunError | None) -> None:
        """Answer whoever called start, once; what goes wrong later is said on the container's standard error."""
        if self._answer:
            started: Answer = {"started": True}
            self._answer(wire.failure(error) if error else started)
            self._answer = None

    def _run(self) -> None:
        anchor = self._anchor
        if anchor.status != status.RUNNING or anchor.forced is not None:
            return  # it was killed meanwhile
        self.step = launch.step(
            anchor.loop,
            anchor.container,
            anchor.plan,
            anchor.stdio.descriptors,
            log=anchor.log,
            started=self._started,
            ended=self._ended,
            failed=self._task_failed,
        )
        anchor.record.update({"step_pid": self.step.pid, "step_started": processes.start_time(self.step.pid)})
        anchor.save()
        # From here on only srun has the container's input and output; one copy of standard error is for our own words.
        anchor.stdio.replace([-1, -1, anchor.stdio.descriptors[2]])

    def _started(self, error: SlurmError | None) -> None:
        anchor = self._anchor
        if error:
            self._error = launch.not_started(anchor.record, error)  # the step's end comes at once
            return
        if self.step:
            progress = self.step.progress
            anchor.record.update({"step": progress.step, "started": log.timestamp()})
            anchor.record.update({"tasks": progress.count, "tasks_on_a_node": progress.most_on_a_node()})
            anchor.save()
            if anchor.forced is not None:
                signals.force_late(anchor)
            elif anchor.plan["terminal"]:
                Nudge(anchor.loop, lambda: anchor.stdio.descriptors[2])
        self.answer(None)

    def _failed(self, error: ScrunError) -> None:
        anchor = self._anchor
        launch.forget_what_nodes_see()
        anchor.forced = NOT_RUN if anchor.forced is None else anchor.forced
        if not self._answer:
            anchor.say(str(error))
        self.answer(error)
        anchor.finish(anchor.forced)

    def _ended(self, exit_status: int) -> None:
        """The container's process has ended, or was never run; the status alone doesn't tell."""
        anchor = self._anchor

        def found(refused: str) -> None:
            if refused and anchor.forced is None:
                launch.forget_what_nodes_see()
                anchor.say(refused)
            anchor.finish((NOT_RUN if refused else exit_status) if anchor.forced is None else anchor.forced)

        if self._error:
            anchor.explain(self._error, self._failed)
        elif anchor.forced is None and anchor.record.get("started") and exit_status < 128:
            from scrun.lifecycle.anchor import refusal

            refusal.find(anchor.loop, anchor.record, anchor.plan["environment"], exit_status, found)
        else:
            found("")

    def _task_failed(self, how: str) -> None:  # one of several: the exit status alone would not tell which, nor where
        if self._anchor.forced is None and not self._anchor.plan["terminal"]:
            self._anchor.say(how)
