"""Run scrun.lua: stage_in once the job has its nodes, stage_out when the container has ended."""

from __future__ import annotations

import os

from scrun.bundle import config as bundle_config
from scrun.errors import ScrunError
from scrun.lifecycle import wire
from scrun.lua_hooks import Hooks, StageIn, StageOut
from scrun.slurm import srun
from scrun.staging.model import Container as StagedContainer
from scrun.staging.model import Staged

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence
    from typing import Any

    from scrun.lifecycle.container import Container
    from scrun.lifecycle.wire import Message

    Record = dict[str, Any]
    Options = dict[str, Any] | None


def run(channel: int, container: Container) -> None:
    """Serve ``{"do": "load"}`` and then one of ``"stage in"`` and ``"stage out"``."""
    reader = wire.Reader(channel)
    if not (message := reader.next()):
        return

    def log(level: str, text: str) -> None:
        wire.send(channel, {"log": level, "message": text})

    host = _Host(log)
    hooks = Hooks.load(message["script"], host, lua=message["lua"])
    wire.send(channel, {"loaded": message["script"]})
    if not (message := reader.next()):
        return
    record, plan = message["record"], message["plan"]
    host.environment = variables(record, plan, container.path)
    host.job = _Job(record, plan["srun"], host.environment)
    if message["do"] == "stage in":
        os.makedirs(container.child("spool"), 0o700, exist_ok=True)
        wire.send(channel, _stage_in(hooks, host, record, plan))
    else:
        _stage_out(hooks, host, record, plan)
        wire.send(channel, {"staged out": True})


def _stage_in(hooks: Hooks, host: _Host, record: Record, plan: Message) -> Message:
    from scrun.bundle import adapt
    from scrun.staging.stage_in import stage_in

    config = bundle_config.load(record["bundle"], plan["config_file"])
    uid, gid = record["uid"], record["gid"]

    def adapted(given: dict[str, Any]) -> dict[str, Any]:
        return adapt.adapt(given, uid=uid, gid=gid, note=lambda text: host.log("debug", text))

    def stage(options: Options) -> None:
        host.staged = stage_in(
            _container(record, config), host.step, adapt=adapted, log=host.log, options=options or None
        )

    host.stage_in = stage
    job_env = dict(line.partition("=")[::2] for line in record["job_environment"])
    call = StageIn(
        id=record["id"],
        bundle=record["bundle"],
        spool_dir=plan["spool_dir"],
        config_file=plan["config_file"],
        job_id=record["job"],
        user_id=uid,
        group_id=gid,
        job_env=job_env | host.environment,
    )
    paths = hooks.stage_in(call)
    bundle, rootfs = paths.bundle, paths.root_path or record["rootfs"]
    if host.staged and paths.bundle == record["bundle"]:
        bundle, rootfs = host.staged.bundle, host.staged.rootfs
    return {"staged": host.staged.to_dict() if host.staged else {}, "bundle": bundle, "rootfs": rootfs}


def _stage_out(hooks: Hooks, host: _Host, record: Record, plan: Message) -> None:
    from scrun.staging.stage_out import stage_out

    config = bundle_config.load(record["bundle"], plan["config_file"])
    left = Staged.from_dict(record["staged"]) if record["staged"].get("bundle") else None

    def stage(options: Options) -> None:
        if left:
            stage_out(_container(record, config), left, host.step, log=host.log, options=options or None)

    host.stage_out = stage
    hooks.stage_out(
        StageOut(
            id=record["id"],
            bundle=record["job_bundle"],
            orig_bundle=record["bundle"],
            root_path=record["job_rootfs"],
            orig_root_path=record["rootfs"],
            spool_dir=plan["spool_dir"],
            config_file=plan["config_file"],
            job_id=record["job"],
            user_id=record["uid"],
            group_id=record["gid"],
        )
    )


def give_up(container: Container) -> None:
    """Clean up what stage_in left, when nobody is there to run stage_out: nothing is brought back."""
    record = container.record
    if record["staged"].get("bundle"):
        from scrun.staging.stage_out import discard

        discard(Staged.from_dict(record["staged"]), None, log=lambda _level, _text: None)


def _container(record: Record, config: dict[str, Any]) -> StagedContainer:
    return StagedContainer(
        record["id"], record["bundle"], record["rootfs"], config, record["job"], record["uid"], record["gid"]
    )


def variables(record: Record, plan: Message, directory: str) -> dict[str, str]:
    """The SCRUN_* variables that hooks, their commands and the job get (scrun(1), OUTPUT ENVIRONMENT VARIABLES)."""
    named = {
        "OCI_VERSION": plan["oci_version"],
        "CONTAINER_ID": record["id"],
        "PID": record["pid"],
        "BUNDLE": record["bundle"],
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
        "ROOTFS_PATH": record["rootfs"],
        "SUBMISSION_ROOTFS_PATH": record["rootfs"],
        "LOG_FILE": plan["log_file"],
        "LOG_FORMAT": plan["log_format"],
    }
    annotations = {f"ANNOTATION_{name}": value for name, value in record["annotations"].items()}
    return {f"SCRUN_{name}": str(value) for name, value in (named | annotations).items() if value not in ("", None)}


class _Job:
    """Commands beside the container, on the nodes of its job (staging's Step)."""

    def __init__(self, record: Record, command: Sequence[str], environment: dict[str, str]) -> None:
        self.nodes = srun.expand_nodes(record["nodes"])
        self._job, self._srun, self.environment = record["job"], command, environment

    def start(
        self, argv: Sequence[str], *, stdin: int, stdout: int, stderr: int, nodes: Sequence[str] | None = None
    ) -> subprocess.Popen[bytes]:
        """One task on each of the nodes; stdin is broadcast to all of them."""
        import subprocess  # half of what this module costs; a stage_out where nothing was carried does without

        command = srun.command_step(self._srun, job=self._job, argv=argv, nodes=nodes or self.nodes)
        environment = {name: value for name, value in os.environ.items() if not _is_foreign(name)} | self.environment
        return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, env=environment)


def _is_foreign(name: str) -> bool:
    """Variables of a job that scrun itself may run in; srun would take them for its own options."""
    return name.startswith("SLURM_") and name not in ("SLURM_CONF", "SLURM_CONF_SERVER")


class _Host:
    """What a hook script can reach (lua_hooks' Host)."""

    def __init__(self, log: Callable[[str, str], None]) -> None:
        self.log = log
        self.stage_in = self.stage_out = _not_now
        # Read once, when the script is loaded: what the two names stand for changes with the hook that runs.
        self.extras: dict[str, Callable[..., object]] = {
            "stage_in": lambda options=None: self.stage_in(options),
            "stage_out": lambda options=None: self.stage_out(options),
        }
        self.job: _Job | None = None
        self.environment: dict[str, str] = {}
        self.staged: Staged | None = None

    @property
    def step(self) -> _Job:
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
            ["/bin/sh", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
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
