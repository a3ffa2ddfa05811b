"""Run commands on the nodes of a container's job, in steps beside the container's own."""

from __future__ import annotations

import os

from scrun.program import Program
from scrun.slurm import slurm_conf, srun
from scrun.staging.model import NodeSteps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrun.lifecycle.container.record import Record
    from scrun.staging.child import Standing

_TRIAL = 30.0  # seconds, for a step that runs nothing


class JobSteps(NodeSteps):
    """The nodes of a container's job, for staging and for a hook's remote_command.

    Args:
        record: the container's; it has the job and its nodes.
        command: the program srun with options for all calls.
        environment: variables for the steps, beside this process's own.
        standing: the step that has carried the files, if it is there.
    """

    def __init__(
        self,
        record: Record,
        command: Sequence[str],
        environment: dict[str, str],
        standing: Standing | None = None,
    ) -> None:
        self.standing = standing
        self._nodes = srun.expand_nodes(record["nodes"])
        self._job, self._srun, self._environment = record["job"], command, environment
        self._started: list[Program] = []

    @property
    def nodes(self) -> list[str]:
        """The names of the job's nodes."""
        return self._nodes

    @property
    def ports(self) -> tuple[int, int]:
        """The ports of this host that nodes can connect to: SrunPortRange in slurm.conf."""
        return slurm_conf.srun_ports(os.environ)

    def start(
        self,
        argv: Sequence[str],
        *,
        name: str,
        stdin: int,
        stdout: int,
        stderr: int,
        nodes: Sequence[str] | None = None,
    ) -> Program:
        """Start one task on each of the nodes (:meth:`scrun.staging.model.NodeSteps.start`)."""
        command = srun.command_step(self._srun, job=self._job, name=name, argv=argv, nodes=nodes or self.nodes)
        command, brought = srun.by_environment(command)
        environment = self._srun_environment() | brought
        process = Program(command, stdin=stdin, stdout=stdout, stderr=stderr, environment=environment)
        self._started.append(process)
        return process

    def launches(self, bundle: str, args: Sequence[str]) -> bool | None:
        """Whether slurmstepd accepts the bundle on all nodes (:meth:`scrun.staging.model.NodeSteps.launches`)."""
        import subprocess

        command = srun.trial_step(self._srun, job=self._job, bundle=bundle, args=args, nodes=self.nodes)
        try:
            step = subprocess.run(
                command,
                env=self._srun_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_TRIAL,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None
        progress = srun.Progress()
        for line in step.stderr.decode("utf-8", "replace").splitlines():
            progress.line(line)
        if progress.started:
            return True
        return False if any("Unspecified error" in error for error in progress.errors) else None

    def end_early(self) -> None:
        """End the step that was started early, if nobody has needed it."""
        if self.early:
            self.early.close()
            self.early = None

    def reap(self) -> None:
        """Wait for the steps that have ended, so that they leave no zombies."""
        for process in self._started:
            process.poll()

    def wait(self) -> None:
        """Wait until the last step has ended, also where its output was read before; none stands by any longer."""
        self.end_early()
        if self.standing:
            self.standing.close()
        for process in self._started:
            process.wait()

    def _srun_environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not _is_of_a_job(name)} | self._environment


def _is_of_a_job(name: str) -> bool:
    """Whether a variable is of a job that scrun itself runs in; srun would take it for an option."""
    return name.startswith(srun.OPTIONS) and name not in ("SLURM_CONF", "SLURM_CONF_SERVER")
