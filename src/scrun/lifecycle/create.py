"""create: check everything, then have a job asked for and the container staged (runtime-spec, runtime.md, Create)."""

from __future__ import annotations

import os
import signal
import time

from scrun import log
from scrun.errors import ScrunError, UsageError
from scrun.lifecycle import wire
from scrun.lifecycle.container import SPOOL, Container
from scrun.lifecycle.spawn import spawn
from scrun.slurm import node_runtime, sources, srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from scrun.lifecycle.live_line import LiveLine

    Message = dict[str, Any]

# Seconds; podman gives create 240. As long as create waits, docker and podman hold the container's lock, and what looks
# at it waits as well: podman ps, docker inspect.
PATIENCE = 30.0
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Of the caller's environment, what later calls need and docker and podman don't give them.
_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "XDG_RUNTIME_DIR", "SLURM_CONF", "SLURM_CONF_SERVER", "TMPDIR")


class Options:
    """What the command line says; paths as given, empty when not.

    ``attached``: whoever creates the container stays with it, and it ends when they do (:mod:`run`).
    """

    def __init__(
        self,
        bundle: str,
        pid_file: str = "",
        console_socket: str = "",
        config: str = "config.json",
        *,
        attached: bool = False,
    ) -> None:
        self.bundle, self.pid_file, self.console_socket, self.config = bundle, pid_file, console_socket, config
        self.attached = attached


class Output:
    """Where messages go, and how the hooks are told of it; at a terminal there is a live line too."""

    def __init__(
        self, logger: log.Log, log_file: str = "", log_format: str = "text", live: LiveLine | None = None
    ) -> None:
        self.say, self.levels, self.live = logger.say, logger.levels, live
        self.log_file, self.log_format = log_file, log_format


class Interrupted(BaseException):
    """A signal that ends create; ``args[0]`` is its number."""


def run(root: str, container_id: str, options: Options, output: Output) -> None:
    """Create the container; return when its job has its nodes and the hooks have run, or the wait takes too long.

    Raises:
        ScrunError: anything that prevents it; nothing is left then.
        SystemExit: interrupted by a signal; nothing is left then either.
    """
    with Creation(root, container_id) as creation:
        creation.carry_out(plan(creation.container, options, os.environ, output))
        creation.wait(output)


class Creation:
    """A container that is being created: its directory is claimed, and its anchor waits for the plan.

    As a context manager it undoes everything when something goes wrong, or a signal interrupts it.
    """

    def __init__(self, root: str, container_id: str) -> None:
        for number in _INTERRUPTS:
            signal.signal(number, _interrupt)
        _open_missing_stdio()
        self.container = Container.claim(root, container_id)
        try:
            self._anchor = spawn(self.container)  # it imports what is slow while the config is read here
        except BaseException:
            self.container.remove()
            raise
        self._reader = wire.Reader(self._anchor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is None:
            return
        for number in _INTERRUPTS:
            signal.signal(number, signal.SIG_IGN)  # what follows is the clean-up
        wire.send(self._anchor, {"do": "abort"})
        self.wait_for_the_end()
        if isinstance(error, Interrupted):
            raise SystemExit(128 + error.args[0]) from None

    def carry_out(self, the_plan: Message) -> None:
        """Have the anchor do what the plan says."""
        wire.send(self._anchor, {"do": "create", **the_plan})

    def wait(self, output: Output) -> None:
        """Until the anchor says that the container is created.

        Raises:
            ScrunError: why it isn't.
        """
        try:
            _wait(self._reader, output)
        finally:
            if output.live:
                output.live.clear()

    def have_it_opened_anew(self) -> Container:
        """The container with its record, for one who stays: what was forked from us shares the lock of the old one."""
        fresh = Container.open(os.path.dirname(self.container.path), self.container.id)
        os.close(self.container.descriptor)
        return fresh

    def leave_it_alone(self) -> None:
        """An attached container is nobody's from here on: it outlives whoever created it."""
        wire.send(self._anchor, {"do": "leave alone"})

    def wait_for_the_end(self) -> None:
        """Until the anchor has ended; all that it owed is paid then."""
        while self._reader.read() is not None:
            pass


def _open_missing_stdio() -> None:
    """The lowest three descriptors are the container's; a caller that closed one meant /dev/null."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _interrupt(number: int, _frame: object) -> None:
    raise Interrupted(number)


def _wait(reader: wire.Reader, output: Output) -> None:
    queued_at = 0.0
    while messages := reader.read():
        for message in messages:
            wire.raise_failure(message)
            if "created" in message:
                return
            if "waiting" in message:
                queued_at = queued_at or time.time()
                _say_queued(message, output, queued_at)
            elif "granted" in message and output.live:
                output.live.clear()
            elif "progress" in message:
                _say_progress(message["progress"], output)
            elif "log" in message:
                _pass_on(message, output)
    raise ScrunError("internal error: the anchor ended without an answer")


def _say_queued(message: Message, output: Output, queued_at: float) -> None:
    text = f"job {message['job']} is queued{f' ({why})' if (why := message['waiting']) else ''}"
    if output.live:
        output.live.show(text, queued_at)
    else:
        output.say("info", text)


def _say_progress(text: str, output: Output) -> None:
    """How far it is: for a person who looks on; in a log it is of use only when a fault is looked for."""
    if output.live:
        output.live.show(text)
    else:
        output.say("debug", text)


def _pass_on(message: Message, output: Output) -> None:
    if output.live:
        output.live.clear()
    output.say(message["log"], message["message"], system=False)  # the anchor does that


def plan(container: Container, options: Options, environment: os._Environ[str], output: Output) -> Message:
    """Check everything that can be checked without a job, and say what the anchor is to do.

    Raises:
        ScrunError: what is wrong.
    """
    # Here, not above: what is imported before the anchor is forked stays in its memory.
    from scrun.bundle import adapt_gpus, executable, resources
    from scrun.bundle import config as bundle_config
    from scrun.lifecycle import network, sharing
    from scrun.slurm import job, oci_conf

    bundle = os.path.abspath(options.bundle)
    config = bundle_config.load(bundle, options.config)
    bundle_config.check(config)
    rootfs = bundle_config.rootfs_path(config, bundle)
    process = config["process"]
    terminal = bool(process.get("terminal"))
    if terminal and not options.console_socket and not options.attached:
        raise UsageError("process.terminal is true: say with --console-socket where the terminal is to be sent")
    if options.console_socket and options.attached:
        raise UsageError("--console-socket is for a container that nobody stays with: say --detach too")
    if options.console_socket and not terminal:
        raise UsageError("--console-socket is given but process.terminal is false: there is no terminal to be sent")
    oci_conf.check_slurm_conf(environment)
    oci, script = _configuration(container, environment)
    settings = oci_conf.read_file(oci)
    in_file = settings.get("FileDebug", "")
    output.levels.settle(
        file=in_file or "error",
        stderr=settings.get("StdIODebug", "error"),
        syslog=settings.get("SyslogDebug", "quiet"),
    )
    container_environment = dict(entry.partition("=")[::2] for entry in process.get("env") or ())
    annotations = config.get("annotations") or {}
    shared = sharing.find(container, config)
    limits = resources.limits(config)
    request = job.request(environment, container_environment, annotations, limits, _directory(), shared.job())
    shared.join(container, request)
    request.job["gpu_devices"] = bool(adapt_gpus.numbered(config))
    for note in request.notes:
        output.say("info", note)
    command = srun.program(settings, environment) + srun.component(request.job.get("existing"), environment)
    uid = os.getuid()
    size = process.get("consoleSize")
    network_wanted = shared.network(config, lambda text: output.say("info", text))
    return {
        "record": {
            "id": container.id,
            "status": "creating",
            "bundle": bundle,
            "rootfs": rootfs,
            "created": log.timestamp(),
            "owner": _user_name(uid),
            "annotations": annotations,
            "command": process["args"],
            # As they are now: podman writes what it wants to be updated into config.json first.
            "resources": _limits(config),
            "environment": {name: environment[name] for name in _KEPT if name in environment},
            "config_file": options.config,
            "srun": command,
            "runtime": node_runtime.derive(settings),
            "asked": request.asked,
            **shared.record(config, network_wanted),
        },
        # What becomes of the anchor's messages; its own file is for whoever looks for a fault.
        "log_levels": [log.variable("FILE", environment) or in_file or "debug", log.LEVELS[output.levels.syslog]],
        "job": request.job,
        "step_environment": request.step,
        "patience": request.patience if request.patience is not None else PATIENCE,
        "args": [executable.resolve(config, rootfs, bundle=bundle), *process["args"][1:]],
        "environment": {name: value for name, value in environment.items() if not name.startswith("SLURM_")}
        | {name: environment[name] for name in ("SLURM_CONF", "SLURM_CONF_SERVER") if name in environment},
        "terminal": terminal,
        "console_socket": options.console_socket and os.path.abspath(options.console_socket),
        "console_size": [size["height"], size["width"]] if size and size.get("height") else None,
        "pid_file": options.pid_file and os.path.abspath(options.pid_file),
        "attached": options.attached,
        "new_network_namespace": network_wanted == network.LATER,
        "script": script,
        "lua": environment.get("SCRUN_LUA", ""),
        "staging": {
            "config_file": os.path.join(bundle, options.config),
            "spool_dir": os.path.join(container.path, SPOOL),
            "pid_file": options.pid_file,
            "oci_version": config["ociVersion"],
            "log_file": output.log_file,
            "log_format": output.log_format,
            "srun": command,
            "network": network_wanted,
            "host_name": shared.host_name(config),
            "spool_mount": settings.get("MountSpoolDir", ""),
            **({"env_exclude": settings.get("EnvExclude", "")} if settings.get("IgnoreFileConfigJson") else {}),
        },
    }


def _configuration(container: Container, environment: os._Environ[str]) -> tuple[str, str]:
    """The oci.conf and the scrun.lua to use.

    Raises:
        SlurmError: there is no Slurm configuration on this host.
    """
    if not sources.slurm_conf(environment):
        from scrun.slurm import fetched

        directory = container.child("conf")
        if conf := fetched.fetch(directory):
            environment["SLURM_CONF"] = conf
        else:
            script = os.path.join(directory, sources.SCRIPT)
            return os.path.join(directory, sources.OCI_CONF), (
                script if os.path.exists(script) else sources.script(environment)
            )
    return sources.oci_conf(environment), sources.script(environment)


def _limits(config: Message) -> Message:
    resources = (config.get("linux") or {}).get("resources") or {}
    return {name: value for name, value in resources.items() if value and name != "devices"}


def _directory() -> str:
    """Where scrun was called; one that is gone, or that can't be named, is no reason to fail."""
    try:
        return os.getcwd()
    except OSError:
        return "/"


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
