"""What the anchor is to do for a new container: made of its bundle, the caller's environment and Slurm's configuration.

Imported when the anchor has been forked, and not before: what is imported by then stays in its memory.
"""

from __future__ import annotations

import os
import pwd

from scrun import log
from scrun.bundle import accounting, adapt_gpus, arguments, container_limits
from scrun.bundle import config as bundle_config
from scrun.errors import UsageError
from scrun.lifecycle.caller import sharing
from scrun.lifecycle.caller.options import PATIENCE
from scrun.lifecycle.container import history, network, origin
from scrun.lifecycle.container.directory import SPOOL
from scrun.lifecycle.container.record import VERSION
from scrun.slurm import conf_paths, job, node_runtime, oci_conf, srun
from scrun.staging import mount_sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.caller.options import Options, Output
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.plan import Plan, StagingPlan
    from scrun.lifecycle.container.record import Record
    from scrun.lifecycle.process.wire import Message

# Of the caller's environment, what later calls need and docker and podman don't give them.
_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "XDG_RUNTIME_DIR", "SLURM_CONF", "SLURM_CONF_SERVER", "TMPDIR")


def make(container: Container, options: Options, environment: os._Environ[str], output: Output) -> Plan:
    """Check everything that can be checked without a job, and say what the anchor is to do.

    Raises:
        ScrunError: what is wrong.
    """
    bundle = os.path.abspath(options.bundle)
    config = bundle_config.load(bundle, options.config)
    bundle_config.check_config(config)
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
    limits = container_limits.limits(config)
    request = job.request(
        *(environment, container_environment, annotations, limits, _directory(), shared.job()),
        told=accounting.told(container.id, config, bundle),
    )
    shared.join(container, request)
    request.job["gpu_devices"] = bool(adapt_gpus.numbered(config))
    for note in request.notes:
        output.say("info", note)
    command = srun.srun_command(settings, environment) + srun.component(request.job.get("existing"), environment)
    steps = {**request.job.get("environment", {}), **request.step}  # in a shell of salloc's its own variables hold
    uid = os.getuid()
    size = process.get("consoleSize")
    network_wanted = shared.network(config, lambda text: output.say("info", text))
    record: Record = {
        "version": VERSION,
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
        "host": str(origin.here()),
        "srun": command,
        "runtime": node_runtime.derive(settings),
        "asked": request.asked,
        "notices": request.notices,
        "history": history.places(environment, settings),
    }
    shared.add_to(record, config, network_wanted)
    staging: StagingPlan = {
        "config_file": os.path.join(bundle, options.config),
        "spool_dir": os.path.join(container.path, SPOOL),
        "pid_file": options.pid_file,
        "oci_version": config["ociVersion"],
        "log_file": output.log_file,
        "log_format": output.log_format,
        "srun": command,
        "network": network_wanted,
        "mpi": request.step.get("SLURM_MPI_TYPE", "none") not in ("", "none"),
        "host_name": shared.host_name(config),
        "mounted": {path: list(source) for path, source in mount_sources.find_sources(config, bundle).items()},
        "spool_mounts": oci_conf.spool_mounts(settings),
        "task_prolog": steps.get("SLURM_TASK_PROLOG", ""),
        "task_programs": bool(steps.keys() & {"SLURM_TASK_PROLOG", "SLURM_TASK_EPILOG"}),
    }
    if settings.get("IgnoreFileConfigJson"):
        staging["env_exclude"] = settings.get("EnvExclude", "")
    return {
        "record": record,
        # What becomes of the anchor's messages; its own file is for whoever looks for a fault.
        "log_levels": (log.variable("FILE", environment) or in_file or "debug", log.LEVELS[output.levels.syslog]),
        "job": request.job,
        "step_environment": request.step,
        "patience": request.patience if request.patience is not None else PATIENCE,
        "args": arguments.for_srun(config, rootfs, bundle),
        "environment": {name: value for name, value in environment.items() if not name.startswith(srun.OPTIONS)}
        | {name: environment[name] for name in ("SLURM_CONF", "SLURM_CONF_SERVER") if name in environment},
        "terminal": terminal,
        "console_socket": options.console_socket and os.path.abspath(options.console_socket),
        "console_size": [size["height"], size["width"]] if size and size.get("height") else None,
        "pid_file": options.pid_file and os.path.abspath(options.pid_file),
        "attached": options.attached,
        "new_network_namespace": network_wanted == network.LATER,
        "script": script,
        "lua": environment.get("SCRUN_LUA", ""),
        "staging": staging,
    }


def _configuration(container: Container, environment: os._Environ[str]) -> tuple[str, str]:
    """The oci.conf and the scrun.lua to use.

    Raises:
        SlurmError: there is no Slurm configuration on this host.
    """
    if not conf_paths.slurm_conf(environment):
        from scrun.slurm import fetched

        directory = container.child("conf")
        if conf := fetched.fetch(directory):
            environment["SLURM_CONF"] = conf
        else:
            script = os.path.join(directory, conf_paths.SCRIPT)
            return os.path.join(directory, conf_paths.OCI_CONF), (
                script if os.path.exists(script) else conf_paths.lua_script(environment)
            )
    return conf_paths.oci_conf(environment), conf_paths.lua_script(environment)


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
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
