"""create: check everything, then have a job asked for and the container staged (runtime-spec, runtime.md, Create)."""

from __future__ import annotations

import os
import signal

from scrun import log
from scrun.errors import ScrunError, UsageError
from scrun.lifecycle import wire
from scrun.lifecycle.container import SPOOL, Container
from scrun.lifecycle.spawn import spawn
from scrun.slurm import oci_conf, srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Message = dict[str, Any]

SCRIPT = "scrun.lua"
PATIENCE = 200.0  # seconds; podman gives create 240
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Of the caller's environment, what later calls need and docker and podman don't give them.
_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "XDG_RUNTIME_DIR", "SLURM_CONF", "TMPDIR")


class Options:
    """What the command line says; paths as given, empty when not."""

    def __init__(self, bundle: str, pid_file: str = "", console_socket: str = "", config: str = "config.json") -> None:
        self.bundle, self.pid_file, self.console_socket, self.config = bundle, pid_file, console_socket, config


class Output:
    """Where messages go, and how the hooks are told of it."""

    def __init__(self, logger: log.Log, log_file: str = "", log_format: str = "text") -> None:
        self.say, self.log_file, self.log_format = logger.say, log_file, log_format


class Interrupted(BaseException):
    """A signal that ends create; ``args[0]`` is its number."""


def run(root: str, container_id: str, options: Options, output: Output) -> None:
    """Create the container; return when its job has its nodes and the hooks have run, or the wait takes too long.

    Raises:
        ScrunError: anything that prevents it; nothing is left then.
        SystemExit: interrupted by a signal; nothing is left then either.
    """
    for number in _INTERRUPTS:
        signal.signal(number, _interrupt)
    _open_missing_stdio()
    container = Container.claim(root, container_id)
    try:
        anchor = spawn(container)  # it imports what is slow while the config is read here
    except BaseException:
        container.remove()
        raise
    reader = wire.Reader(anchor)
    try:
        wire.send(anchor, {"do": "create", **plan(container, options, os.environ, output)})
        _wait(reader, output)
    except BaseException as error:
        for number in _INTERRUPTS:
            signal.signal(number, signal.SIG_IGN)  # what follows is the clean-up
        wire.send(anchor, {"do": "abort"})
        while reader.read() is not None:  # until the anchor has cleaned up
            pass
        if isinstance(error, Interrupted):
            raise SystemExit(128 + error.args[0]) from None
        raise


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
    """Until the anchor says that the container is created, or why it isn't."""
    while messages := reader.read():
        for message in messages:
            wire.raise_failure(message)
            if "created" in message:
                return
            if "log" in message:
                output.say(message["log"], message["message"])
            elif "progress" in message:
                output.say("info" if os.isatty(2) else "debug", message["progress"])
            elif "waiting" in message:
                why = f" ({message['waiting']})" if message["waiting"] else ""
                output.say("info", f"job {message['job']} is queued{why}")
    raise ScrunError("internal error: the anchor ended without an answer")


def plan(container: Container, options: Options, environment: os._Environ[str], output: Output) -> Message:
    """Check everything that can be checked without a job, and say what the anchor is to do.

    Raises:
        ScrunError: what is wrong.
    """
    # Here, not above: what is imported before the anchor is forked stays in its memory.
    from scrun.bundle import config as bundle_config
    from scrun.bundle import executable
    from scrun.slurm import job

    bundle = os.path.abspath(options.bundle)
    config = bundle_config.load(bundle, options.config)
    bundle_config.check(config)
    rootfs = bundle_config.rootfs_path(config, bundle)
    process = config["process"]
    terminal = bool(process.get("terminal"))
    if terminal and not options.console_socket:
        raise UsageError("process.terminal is true: say with --console-socket where the terminal is to be sent")
    if options.console_socket and not terminal:
        raise UsageError("--console-socket is given but process.terminal is false: there is no terminal to be sent")
    oci_conf.check_slurm_conf(environment)
    settings = oci_conf.read(environment)
    container_environment = dict(entry.partition("=")[::2] for entry in process.get("env") or ())
    request = job.request(environment, container_environment)
    command = srun.program(settings, environment)
    uid = os.getuid()
    size = process.get("consoleSize")
    return {
        "record": {
            "id": container.id,
            "status": "creating",
            "bundle": bundle,
            "rootfs": rootfs,
            "created": log.timestamp(),
            "owner": _user_name(uid),
            "annotations": config.get("annotations") or {},
            "environment": {name: environment[name] for name in _KEPT if name in environment},
            "srun": command,
            "runtime": oci_conf.of_the_runtime(settings),
        },
        "job": request.job,
        "step_environment": request.step,
        "patience": request.patience if request.patience is not None else PATIENCE,
        "args": [executable.resolve(config, rootfs, bundle=bundle), *process["args"][1:]],
        "environment": {name: value for name, value in environment.items() if not name.startswith("SLURM_")}
        | {name: environment[name] for name in ("SLURM_CONF",) if name in environment},
        "terminal": terminal,
        "console_socket": options.console_socket and os.path.abspath(options.console_socket),
        "console_size": [size["height"], size["width"]] if size and size.get("height") else None,
        "pid_file": options.pid_file and os.path.abspath(options.pid_file),
        "new_network_namespace": _wants_network_namespace(config),
        "script": os.path.join(os.path.dirname(oci_conf.path(environment)), SCRIPT),
        "lua": environment.get("SCRUN_LUA", "5.4"),
        "staging": {
            "config_file": os.path.join(bundle, options.config),
            "spool_dir": os.path.join(container.path, SPOOL),
            "pid_file": options.pid_file,
            "oci_version": config["ociVersion"],
            "log_file": output.log_file,
            "log_format": output.log_format,
            "srun": command,
        },
    }


def _wants_network_namespace(config: Message) -> bool:
    """Whether the config asks for a new network namespace; one with a path is somebody else's, who made it already."""
    namespaces = (config.get("linux") or {}).get("namespaces") or ()
    return any(entry["type"] == "network" and not entry.get("path") for entry in namespaces)


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
