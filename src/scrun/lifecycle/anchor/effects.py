"""What the anchor does: a method for each effect that the table of :mod:`scrun.lifecycle.anchor.life` names.

A method gets what the event is about: an error, an exit status, or a signal's number and the function that answers its
sender. A method may tell the anchor of another event; that is followed when all effects of this event are carried out.
"""

from __future__ import annotations

import os

from scrun import log
from scrun.errors import ScrunError, SlurmError, WrongStatus
from scrun.lifecycle.anchor import launch, removal, signals, vigil
from scrun.lifecycle.anchor.end_effects import EndEffects
from scrun.lifecycle.connection import failures
from scrun.lifecycle.container import status
from scrun.lifecycle.process import processes, wire
from scrun.lifecycle.process.pid_file import write_pid_file
from scrun.lifecycle.terminal.console import Nudge, open_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.anchor.view import Anchor
    from scrun.lifecycle.container.messages import Reply
    from scrun.lifecycle.container.plan import Plan
    from scrun.lifecycle.node.step import Step, StepState

# Seconds that start waits for the process to run (a site's prolog can be slow): meanwhile docker and podman hold the
# container's lock.
START_LIMIT = 20.0


class Effects(EndEffects):
    """The effects on one container: here those of its life, and in :class:`EndEffects` those of its end."""

    def __init__(self, anchor: Anchor) -> None:
        super().__init__(anchor)
        self.pid_file = -1  # holds the file's lock

    # --- create

    def record_plan(self, plan: Plan) -> None:
        """Take over what create wants, and write it down."""
        anchor = self._anchor
        anchor.plan = plan
        anchor.stdio.levels = plan["log_levels"]
        self._record.update(plan["record"])
        self._record.update({"anchor": os.getpid(), "anchor_started": processes.start_time(os.getpid())})
        if anchor.save():
            anchor.happen("recorded")

    def watch_directory(self) -> None:
        """Have the container end when its directory is removed."""
        removal.watch(self._anchor)

    def limit_create(self) -> None:
        """Limit the time that create waits, if the plan does."""
        self._anchor.create_limit.begin(self._anchor.plan)

    def end_limit(self) -> None:
        """Drop the limit on the time that create waits."""
        self._anchor.create_limit.end()

    def move_standin(self) -> None:
        """Have the stand-in enter the namespaces that the plan names."""
        plan = self._anchor.plan
        self._anchor.standin.move(
            pid=self._is_podmans(), network=plan["new_network_namespace"], hook=plan["network_hook"]
        )

    def record_standin(self, pid: int) -> None:
        """Write the stand-in's new pid down, if it had to begin anew."""
        if pid:
            self._record.update({"pid": pid, "pid_started": processes.start_time(pid)})
            self._anchor.save()

    def prepare(self) -> None:
        """Have the job asked for, and the files staged."""
        self._anchor.preparation.begin(self._anchor.plan)

    def announce(self, _pid: int = 0) -> None:
        """Make the terminal and the pid file that create's caller finds; the job may still be queued."""
        anchor, plan = self._anchor, self._anchor.plan
        try:
            if plan["terminal"]:
                terminal = open_terminal(plan["console_socket"], plan["console_size"])
                anchor.stdio.replace([terminal] * 3)
            if plan["pid_file"]:
                self.pid_file = write_pid_file(plan["pid_file"], self._record["pid"])
        except ScrunError as error:
            anchor.happen("hopeless", error)
            return
        self._record["status"] = status.CREATED
        if anchor.save():
            anchor.happen("announced")
        else:
            self._record["status"] = status.CREATING

    def tell_created(self) -> None:
        """Tell create that the container is there."""
        self._anchor.creator.created()

    def watch_job(self) -> None:
        """Have the container end when its job does before it is started."""
        vigil.keep(self._anchor)

    def show_podman(self) -> None:
        """Have podman find, where it looks by itself, nothing of this host but the files that the container runs on."""
        if self._is_podmans():
            is_here = "staged" in self._record and launch.is_rootfs_here(self._record)
            self._anchor.standin.show_podman(rootfs=is_here)

    def _is_podmans(self) -> bool:
        """Whether podman may look into the stand-in; an attached one is a person's, and its parent waits for it."""
        manager = self._record["annotations"].get("io.container.manager")
        return not self._anchor.creator.is_attached and manager == "libpod"

    # --- start

    def set_running(self, *_about: object) -> None:
        """Record the status "running"."""
        self._anchor.set_status(status.RUNNING)

    def await_start(self, answer: Reply) -> None:
        """Answer start when the process runs or has failed to, or when that takes longer than engines wait."""
        self._starts.append(answer)
        self._start_limit = self._loop.after(START_LIMIT, lambda: self._anchor.happen("start_overdue"))

    def answer_started(self, answer: Reply) -> None:
        """Answer start."""
        answer({"started": True})

    def start_in_vain(self, answer: Reply) -> None:
        """Start what can't run, as will be said soon: it ends as if it had been started before."""
        if status.can_start(self._anchor.container.phase()):
            self._anchor.set_status(status.RUNNING)
            answer({"started": True})
        else:
            self.refuse_start(answer)

    def refuse_start(self, answer: Reply) -> None:
        """Answer that the container can't be started in its status."""
        container = self._anchor.container
        answer(wire.failure(WrongStatus(f"cannot start container {container.id!r}: it is {container.phase()}")))

    def say_queued(self, _answer: Reply) -> None:
        """Say on the container's standard error that the job waits."""
        self._anchor.notices.started()

    def launch(self, *_about: object) -> None:
        """Have the step begin, with the small files as they are by now."""
        anchor = self._anchor
        done = lambda: anchor.happen("files_renewed")  # noqa: E731
        launch.renew_files(anchor.loop, anchor.container, anchor.plan, anchor.nodes, log=anchor.log, done=done)

    def run_step(self) -> None:
        """Run srun."""
        anchor = self._anchor
        anchor.notices.begun()
        try:
            if anchor.nodes:
                anchor.nodes.begin()
        except OSError as error:
            anchor.happen("not_started", SlurmError(f"can't enter the engine's network namespace: {error.strerror}"))
            return
        anchor.step = self.make_step()
        anchor.record.update({"step_pid": anchor.step.pid, "step_started": processes.start_time(anchor.step.pid)})
        anchor.save()
        if not anchor.nodes:
            # From here on only srun has the container's input and output; one copy of standard error is for our words.
            anchor.stdio.replace([-1, -1, anchor.stdio.descriptors[2]])

    def make_step(self, kept: StepState | None = None) -> Step:
        """Run srun, unless it is ``kept``; and have the container follow it."""
        anchor, nodes = self._anchor, self._anchor.nodes
        failure: SlurmError | None = None

        def started(error: SlurmError | None) -> None:
            nonlocal failure
            failure = error and launch.not_started(anchor.record, error)
            if not failure and nodes:
                nodes.step_has_begun(anchor.step.progress.count if anchor.step else 1)
            elif not failure:
                anchor.happen("program_started")

        def ended(exit_status: int) -> None:
            if nodes:
                nodes.end(lambda: decide(exit_status))
            else:
                decide(exit_status)

        def decide(exit_status: int) -> None:
            if failure:
                anchor.happen("not_started", failure)
            elif nodes and not nodes.has_run and anchor.forced is None:
                anchor.happen("not_started", nodes.why_not_run(f"the step ended with status {exit_status}"))
            else:
                if nodes:
                    said = nodes.said()
                    if anchor.step and anchor.step.is_ended_here:
                        said = failures.without_end(said)
                    anchor.stdio.pass_on(said)
                anchor.happen("exited", exit_status)

        if kept:
            return launch.woken_step(kept, anchor.loop, log=anchor.log, ended=ended, failed=self._task_failed)
        return launch.step(
            *(anchor.loop, anchor.container, anchor.plan, anchor.stdio.descriptors, nodes),
            log=anchor.log,
            started=started,
            ended=ended,
            failed=self._task_failed,
        )

    def _task_failed(self, how: str) -> None:  # one of several: the exit status alone would not tell which, nor where
        if self._anchor.forced is None and not self._anchor.plan["terminal"]:
            self._anchor.say(how)

    def record_step(self) -> None:
        """Write down which step the container is."""
        if self._anchor.step:
            progress = self._anchor.step.progress
            self._record.update({"step": progress.step, "started": log.timestamp()})
            self._record.update({"tasks": progress.count, "tasks_on_a_node": progress.most_on_a_node()})
            self._anchor.save()

    def nudge_terminal(self) -> None:
        """Send the size of a terminal that is srun's again, now that somebody is there to take it."""
        if self._anchor.plan["terminal"] and not self._anchor.nodes:
            Nudge(self._loop, lambda: self._anchor.stdio.descriptors[2])

    # --- signals, pause and resume

    def answer_sent(self, number: int, answer: Reply) -> None:
        """Answer that the signal was sent."""
        answer({"sent": number})

    def refuse_signal(self, _number: int, answer: Reply) -> None:
        """Answer that the container has no process for a signal."""
        signals.refuse(self._anchor, answer)

    def send_signal(self, number: int, answer: Reply) -> None:
        """Send the signal on the nodes."""
        signals.deliver(self._anchor, number, answer)

    def pause(self, answer: Reply) -> None:
        """Have all processes of the container stop."""
        from scrun.lifecycle.anchor import freeze  # seldom asked for, and not kept in every anchor's memory

        freeze.pause(self._anchor, answer)

    def undo_pause(self, answer: Reply, error: ScrunError) -> None:
        """Have the processes go on that were stopped: not all could be."""
        from scrun.lifecycle.anchor import freeze

        freeze.undo(self._anchor, answer, error)

    def refuse_pause(self, answer: Reply, *_error: object) -> None:
        """Answer why the container can't be paused."""
        from scrun.lifecycle.anchor import freeze

        freeze.refuse_pause(self._anchor, answer)

    def resume(self, answer: Reply) -> None:
        """Have all processes of the container go on."""
        from scrun.lifecycle.anchor import freeze

        freeze.resume(self._anchor, answer)

    def refuse_resume(self, answer: Reply) -> None:
        """Answer why the container can't be resumed."""
        from scrun.lifecycle.anchor import freeze

        freeze.refuse_resume(self._anchor, answer)

    def set_paused(self, _answer: Reply) -> None:
        """Record the status "paused"."""
        self._anchor.set_status(status.PAUSED)

    def answer_paused(self, answer: Reply) -> None:
        """Answer that all processes have stopped."""
        answer({"paused": True})

    def answer_resumed(self, answer: Reply, *_error: object) -> None:
        """Answer that the processes go on, or have ended."""
        answer({"resumed": True})

    def answer_error(self, answer: Reply, error: ScrunError) -> None:
        """Answer with the error."""
        answer(wire.failure(error))
