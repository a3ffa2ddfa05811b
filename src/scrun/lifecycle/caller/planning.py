"""Make the plan of a new container from its bundle, the caller's environment and Slurm's configuration.

Import this module only after the fork of the anchor, because what is imported before stays in the anchor's memory.
"""

from __future__ import annotations

import os
import pwd

from scrun import log
from scrun.bundle import accounting, adapt_gpus, arguments, container_limits, executable
from scrun.bundle import config as bundle_config
from scrun.errors import BundleError, UsageError
from scrun.lifecycle.caller import engine_words, network_choice, sharing
from scrun.lifecycle.caller.options import NODE_PATIENCE, PATIENCE, QUEUED_PATIENCE
from scrun.lifecycle.container import history, network, origin
from scrun.lifecycle.container.directory import CONFIG, SPOOL
from scrun.lifecycle.container.record import VERSION
from scrun.slurm import conf_paths, job, node_runtime, oci_conf, slurm_conf, srun
from scrun.staging import mount_sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.caller.options import Options, Output
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.plan import Args, Plan
    from scrun.lifecycle.container.record import Record
    from scrun.lifecycle.container.staging_plan import StagingPlan
    from scrun.oci import Config, Resources
    from scrun.slurm.job import Request

# Variables of the caller that later calls need, because docker and podman don't give them to each call.
_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "XDG_RUNTIME_DIR", "SLURM_CONF", "SLURM_CONF_SERVER", "TMPDIR")


def make_plan(container: Container, options: Options, environment: os._Environ[str], output: Output) -> Plan:
    """Check everything that can be checked without a job, and make the plan for the anchor.

    Args:
        container: the new container, whose directory is claimed.
        options: the options of the command line.
        environment: the caller's environment.
        output: where messages go; the levels of oci.conf are set in it.

    Raises:
        ScrunError: the bundle, the options, a setting or Slurm's configuration is wrong.
    """
    return _Planning(container, options, environment, output).plan()


class _Planning:
    """A plan that is being made."""

    def __init__(self, container: Container, options: Options, environment: os._Environ[str], output: Output) -> None:
        self.container, self.options, self.environment, self.output = container, options, environment, output
        self.bundle = os.path.abspath(options.bundle)
        self.config_file, self.config = _load(container, self.bundle, options.config)
        bundle_config.check_config(self.config)
        self.rootfs = bundle_config.rootfs_path(self.config, self.bundle)
        self.process = self.config["process"]
        self.annotations: dict[str, str] = self.config.get("annotations") or {}
        _check_terminal(bool(self.process.get("terminal")), options)
        oci_conf.check_slurm_conf(environment)
        oci, self.script = _configuration(container, environment)
        self.settings = oci_conf.read_file(oci)
        output.levels.settle(
            file=self.settings.get("FileDebug") or "error",
            stderr=self.settings.get("StdIODebug", "error"),
            syslog=self.settings.get("SyslogDebug", "quiet"),
        )
        self.shared = sharing.find_shared(container, self.config)
        self.request = self._request()
        existing = self.request.job.get("existing")
        self.srun = srun.srun_command(self.settings, environment) + srun.component(existing, environment)
        its = self.shared.network(self.config, lambda text: output.say("info", text))
        self.network = network_choice.choose(
            *(its, self.request.network, self.settings, self.config, self.container.id),
            is_guest=self.shared.has_network,
            in_its_job=self.request.shares,
        )
        output.say("debug", self.network.why)

    def plan(self) -> Plan:
        """The whole plan."""
        options, environment, request = self.options, self.environment, self.request
        size, args = self.process.get("consoleSize"), self._args()
        in_file = log.variable("FILE", environment) or self.settings.get("FileDebug", "") or "debug"
        return {
            "record": self._record(),
            # The levels of the anchor's messages. Its own file is for a person who looks for a fault, so it gets many.
            "log_levels": (in_file, log.LEVELS[self.output.levels.syslog]),
            "job": request.job,
            "step_environment": request.step,
            "patience": PATIENCE if request.patience is None else request.patience,
            "queued_patience": QUEUED_PATIENCE if request.patience is None else request.patience,
            "args": args["args"],
            "args_error": args["args_error"],
            "environment": {name: value for name, value in environment.items() if not name.startswith(srun.OPTIONS)}
            | {name: environment[name] for name in ("SLURM_CONF", "SLURM_CONF_SERVER") if name in environment},
            "terminal": bool(self.process.get("terminal")),
            "console_socket": options.console_socket and os.path.abspath(options.console_socket),
            "console_size": [size["height"], size["width"]] if size and size.get("height") else None,
            "pid_file": options.pid_file and os.path.abspath(options.pid_file),
            "attached": options.attached,
            "new_network_namespace": self.network.is_new,
            "network_hook": self._network_hook(),
            "engine_network": self.network.plan,
            "script": self.script,
            "lua": environment.get("SCRUN_LUA", ""),
            "staging": self._staging(),
            "node_patience": NODE_PATIENCE if request.node_patience is None else request.node_patience,
            "ports": list(slurm_conf.srun_ports(environment)),
        }

    def _args(self) -> Args:
        """The program and its arguments as srun takes them, for a container without an agent.

        Raises:
            BundleError: the program doesn't exist or can't be executed.
        """
        program = executable.find_program(self.config, self.rootfs, bundle=self.bundle)
        try:
            return {"args": arguments.for_srun(program, self.config, self.rootfs, self.bundle), "args_error": ""}
        except BundleError as error:
            return {"args": [], "args_error": str(error)}

    def _request(self) -> Request:
        """The request for the job; a container that joins another container's job becomes a guest there."""
        container_environment = dict(entry.partition("=")[::2] for entry in self.process.get("env") or ())
        limits = container_limits.limits(self.config)
        request = job.request(
            *(self.environment, container_environment, self.annotations, limits, _directory(), self.shared.job()),
            told=accounting.told(self.container.id, self.config, self.bundle),
        )
        self.shared.join(self.container, request)
        request.job["gpu_devices"] = bool(adapt_gpus.numbered(self.config))
        for note in request.notes:
            self.output.say("info", note)
        return request

    def _record(self) -> Record:
        record: Record = {
            "version": VERSION,
            "id": self.container.id,
            "status": "creating",
            "bundle": self.bundle,
            "rootfs": self.rootfs,
            "created": log.timestamp(),
            "owner": _user_name(os.getuid()),
            "annotations": self.annotations,
            "command": self.process["args"],
            # Copied, because podman changes config.json before it calls update.
            "resources": _limits(self.config),
            "environment": {name: self.environment[name] for name in _KEPT if name in self.environment},
            "config_file": self.config_file,
            "host": str(origin.here()),
            "srun": self.srun,
            "runtime": node_runtime.derive(self.settings),
            "asked": self.request.asked,
            "notices": self.request.notices,
            "history": history.places(self.environment, self.settings),
        }
        self.shared.add_to(record, self.config, self.network.kind)
        return record

    def _network_hook(self) -> network.Hook | None:
        return network.engines_hook(self.config, self.bundle) if self.network.is_new else None

    def _staging(self) -> StagingPlan:
        step = self.request.step
        steps = {**self.request.job.get("environment", {}), **step}  # in a shell of salloc its variables count
        mounted = mount_sources.find_sources(self.config, self.bundle)
        staging: StagingPlan = {
            "config_file": os.path.join(self.bundle, self.config_file),
            "spool_dir": os.path.join(self.container.path, SPOOL),
            "pid_file": self.options.pid_file,
            "oci_version": self.config["ociVersion"],
            "log_file": self.output.log_file,
            "log_format": self.output.log_format,
            "srun": self.srun,
            "network": self.network.kind,
            "otherwise": self.network.otherwise,
            "network_of": self.shared.network_of,
            "mpi": step.get("SLURM_MPI_TYPE", "none") not in ("", "none"),
            "host_name": self.shared.host_name(self.config),
            "login": "",
            "gateways": engine_words.gateways(self.config),
            "mounted": {path: list(source) for path, source in mounted.items()},
            "spool_mounts": oci_conf.spool_mounts(self.settings),
            "task_prolog": steps.get("SLURM_TASK_PROLOG", ""),
            "task_programs": bool(steps.keys() & {"SLURM_TASK_PROLOG", "SLURM_TASK_EPILOG"}),
        }
        if self.settings.get("IgnoreFileConfigJson"):
            staging["env_exclude"] = self.settings.get("EnvExclude", "")
        return staging


def _load(container: Container, bundle: str, name: str) -> tuple[str, Config]:
    """The config, and the path of its file in the bundle, from which later calls and the anchor's workers read it.

    What a caller has as a pipe (a shell's ``<(…)``) or a descriptor of its own (/dev/stdin) is kept with the container.

    Raises:
        BundleError: the file can't be read, or not be kept.
    """
    path = os.path.join(bundle, name)
    if name == bundle_config.NAME or not bundle_config.is_read_once(path):
        return name, bundle_config.load(bundle, name)
    text = bundle_config.read_once(path)
    config = bundle_config.load_text(text, path)
    try:
        return container.keep(CONFIG, text.encode()), config
    except OSError as error:
        raise BundleError(f"{container.path}: the copy of {path} can't be written: {error.strerror}") from error


def _check_terminal(terminal: bool, options: Options) -> None:
    """Check that the options fit process.terminal.

    Raises:
        UsageError: they don't.
    """
    if terminal and not options.console_socket and not options.attached:
        raise UsageError("process.terminal is true: name the socket that gets the terminal with --console-socket")
    if options.console_socket and options.attached:
        raise UsageError(
            "--console-socket can only be used with --detach, because run uses this terminal: add --detach"
        )
    if options.console_socket and not terminal:
        raise UsageError(
            "--console-socket is given, but process.terminal is false: leave it out, or set process.terminal"
        )


def _configuration(container: Container, environment: os._Environ[str]) -> tuple[str, str]:
    """The paths of the oci.conf and of the scrun.lua to use.

    Raises:
        SlurmError: there is no Slurm configuration on this host.
    """
    if not conf_paths.slurm_conf(environment):
        from scrun.lifecycle.worker import fetch_conf

        directory = container.child("conf")
        if conf := fetch_conf.fetch(directory):
            environment["SLURM_CONF"] = conf
        else:
            script = os.path.join(directory, conf_paths.SCRIPT)
            return os.path.join(directory, conf_paths.OCI_CONF), (
                script if os.path.exists(script) else conf_paths.lua_script(environment)
            )
    return conf_paths.oci_conf(environment), conf_paths.lua_script(environment)


def _limits(config: Config) -> Resources:
    """The limits of the container's cgroup, without its list of devices."""
    resources: Resources = (config.get("linux") or {}).get("resources") or {}
    limits = resources.copy()
    limits.pop("devices", [])
    return limits


def _directory() -> str:
    """The directory in which scrun was called; / if it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return "/"


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
