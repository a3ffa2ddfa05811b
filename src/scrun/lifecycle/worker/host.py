"""What a hook script can reach: the log, commands here and on the nodes, the SCRUN_* variables, staging."""

from __future__ import annotations

import os

from scrun.errors import ScrunError
from scrun.slurm import slurm_conf, srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from scrun.lifecycle.container.record import Record
    from scrun.lifecycle.container.staging_plan import StagingPlan

    Options = dict[str, Any] | None

_TRIAL = 30.0  # seconds, for a step that runs nothing
_MOST_ANNOTATIONS = 64 << 10  # characters of them all; execve(2) takes 128 KiB for one variable


def variables(record: Record, plan: StagingPlan, directory: str) -> dict[str, str]:
    """The SCRUN_* variables that hooks, their commands and the job get (scrun(1), OUTPUT ENVIRONMENT VARIABLES)."""
    named = {
        "OCI_VERSION": plan["oci_version"],
        "CONTAINER_ID": record["id"],
        "PID": record["pid"],
        "BUNDLE": record.get("job_bundle") or record["bundle"],  # as it is after stage_in, in stage_out
        "SUBMISSION_BUNDLE": record["bundle"],
        "PID_FILE": plan["pid_file"],
        "SOCKET": os.path.join(directory, "anchor.sock"),
        "SPOOL_DIR": plan["spool_dir"],
        "SUBMISSION_CONFIG_FILE": plan["config_file"],
        "USER": record["user"],
        "USER_ID": record["uid"],
        "GROUP": record["group"],
        "GROUP_ID": record["gid"],
        "ROOT": os.path.dirname(directory),
        "ROOTFS_PATH": record.get("job_rootfs") or record["rootfs"],
        "SUBMISSION_ROOTFS_PATH": record["rootfs"],
        "LOG_FILE": plan["log_file"],
        "LOG_FORMAT": plan["log_format"],
    }
    annotations = {f"ANNOTATION_{name}": value for name, value in _passable(record["annotations"])}
    return {f"SCRUN_{name}": str(value) for name, value in (named | annotations).items() if value not in ("", None)}


def _passable(annotations: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The annotations that can be in an environment: whoever writes a container's YAML chooses names and sizes."""
    left = _MOST_ANNOTATIONS
    for name, value in annotations.items():
        size = len(name) + len(value)
        if size <= left and "=" not in name and "\0" not in name + value:
            left -= size
            yield name, value


class Job:
    """Commands beside the container, on the nodes of its job (staging's Step)."""

    def __init__(self, record: Record, command: Sequence[str], environment: dict[str, str]) -> None:
        self.nodes = srun.expand_nodes(record["nodes"])
        self._job, self._srun, self.environment = record["job"], command, environment
        self._started: list[subprocess.Popen[bytes]] = []

    @property
    def ports(self) -> tuple[int, int]:
        """SrunPortRange, where nodes may connect to this host."""
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
    ) -> subprocess.Popen[bytes]:
        """One task on each of the nodes; stdin is broadcast to all of them."""
        import subprocess  # half of what this module costs; a stage_out where nothing was carried does without

        command = srun.command_step(self._srun, job=self._job, name=name, argv=argv, nodes=nodes or self.nodes)
        command, brought = srun.by_environment(command)
        own = {name: value for name, value in os.environ.items() if not _is_foreign(name)}
        environment = own | self.environment | brought
        process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, env=environment)
        self._started.append(process)
        return process

    def launches(self, bundle: str, args: Sequence[str]) -> bool | None:
        """Whether slurmstepd takes the bundle on all nodes, whatever becomes of the container; None: it isn't known."""
        import subprocess

        command = srun.trial_step(self._srun, job=self._job, bundle=bundle, args=args, nodes=self.nodes)
        environment = {name: value for name, value in os.environ.items() if not _is_foreign(name)} | self.environment
        try:
            done = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_TRIAL,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None
        progress = srun.Progress()
        for line in done.stderr.decode("utf-8", "replace").splitlines():
            progress.line(line)
        if progress.started:
            return True
        return False if any("Unspecified error" in error for error in progress.errors) else None

    def reap(self) -> None:
        """Leave no zombies of those that have ended."""
        for process in self._started:
            process.poll()

    def wait(self) -> None:
        """Until the last of these steps has ended; who wanted one's output may have had it before."""
        for process in self._started:
            process.wait()


def _is_foreign(name: str) -> bool:
    """Variables of a job that scrun itself may run in; srun would take them for its own options."""
    return name.startswith(srun.OPTIONS) and name not in ("SLURM_CONF", "SLURM_CONF_SERVER")


class Host:
    """What a hook script can reach (lua_hooks' ScriptHost)."""

    def __init__(self, log: Callable[[str, str], None]) -> None:
        self.log = log
        self.stage_in = self.stage_out = _not_now
        # Read once, when the script is loaded: what the two names stand for changes with the hook that runs.
        self.extras: dict[str, Callable[..., object]] = {
            "stage_in": lambda options=None: self.stage_in(options),
            "stage_out": lambda options=None: self.stage_out(options),
        }
        self.job: Job | None = None
        self.memory = ""  # staging's, of what the nodes see
        self.environment: dict[str, str] = {}

    @property
    def step(self) -> Job:
        """The job's nodes; there are some by the time that a hook is called."""
        if not self.job:
            raise ScrunError("there is no job yet: call this in a hook, not at the script's top level")
        return self.job

    def allocator_command(self, script: str) -> tuple[int, str]:
        """Run a shell script here: its exit status, and what it printed."""
        return _output(["/bin/sh", "-c", script], os.environ | self.environment)

    def remote_command(self, script: str) -> tuple[int, str]:
        """Run a shell script in a new step, on every node of the job."""
        import subprocess

        with self.step.start(
            ["/bin/sh", "-c", script],
            name="hook",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            output = process.communicate()[0]
        return _status(process.returncode), output.decode("utf-8", "surrogateescape")


def _not_now(options: Options) -> None:  # noqa: ARG001  of the form that the two functions have
    raise ScrunError("scrun.stage_in is for slurm_scrun_stage_in, and scrun.stage_out for slurm_scrun_stage_out")


def _output(argv: list[str], environment: dict[str, str]) -> tuple[int, str]:
    import subprocess

    done = subprocess.run(
        argv, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return _status(done.returncode), done.stdout.decode("utf-8", "surrogateescape")


def _status(returncode: int) -> int:
    """A shell's way to say it: 128 + n for signal n."""
    return returncode if returncode >= 0 else 128 + abs(returncode)
