"""The table of all commands, their options and their arguments.

cli.py makes click commands from it for people. argv.py reads the command lines of docker and podman with it directly,
for speed. Names are runc's and crun's. An option without a meaning for a remote container is accepted with a remark.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Option:
    """An option: its spellings, the name of its value (empty for a flag), and its help.

    If the value's name ends in dots, the option may be repeated, and its value is a tuple.
    """

    __slots__ = ("help", "metavar", "name", "repeats", "spellings")

    def __init__(self, spellings: str, metavar: str, text: str) -> None:
        self.spellings = spellings.split()
        self.name = max(self.spellings, key=len).lstrip("-").replace("-", "_")
        self.repeats = metavar.endswith("...")
        self.metavar = metavar.removesuffix("...")
        self.help = text


class Command:
    """A command: its help, its options, its arguments.

    An argument in brackets is optional. A last argument that ends in dots takes all following words, options too.
    """

    __slots__ = ("arguments", "help", "options")

    def __init__(self, text: str, arguments: str, *options: Option) -> None:
        self.help = text
        self.arguments = arguments.split()
        self.options = options


class Call:
    """A parsed command line."""

    __slots__ = ("arguments", "command", "globals", "options")

    def __init__(
        self, command: str, global_options: dict[str, Any], options: dict[str, Any], arguments: tuple[str, ...]
    ) -> None:
        self.command, self.globals, self.options, self.arguments = command, global_options, options, arguments

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Call) and self._key() == other._key()

    def __hash__(self) -> int:
        raise TypeError("a Call is not hashable")

    def __repr__(self) -> str:
        return f"Call{self._key()!r}"

    def _key(self) -> tuple[object, ...]:
        return self.command, self.globals, self.options, self.arguments


_IGNORED = "accepted for compatibility, without effect"
_LOST = "has no effect, with a warning, because the container runs on another host"

GLOBAL_OPTIONS = (
    Option("--root", "DIR", "the directory of the containers (default: /run/user/UID/scrun)"),
    Option("--log", "FILE", "write messages to this file too"),
    Option("--log-format", "FORMAT", "the log file's format: text (default) or json"),
    Option(
        "--log-level", "LEVEL", "the log file's level: quiet, fatal, error (default), info, verbose, debug to debug5"
    ),
    Option("--debug", "", "log details for finding faults"),
    Option("-f", "FILE", "the slurm.conf to use"),
    Option("--cgroup-manager", "MANAGER", _IGNORED),
    Option("--criu", "PATH", _IGNORED),
    Option("--rootless", "VALUE", _IGNORED),
    Option("--systemd-cgroup", "", _IGNORED),
)

# Options that click handles, for people.
FOR_PEOPLE = (
    Option("-v", "", "print more on standard error; repeat it for even more"),
    Option("-V --version", "", "print the version"),
    Option("-h -? --help --usage", "", "print the options and commands"),
)

_BUNDLE = Option("-b --bundle", "DIR", "the bundle (default: the working directory)")
_CONSOLE_SOCKET = Option("--console-socket", "SOCKET", "the Unix socket that the terminal is sent to")
_PID_FILE = Option("--pid-file", "FILE", "write the pid of the process that stands for the container to this file")

_CREATE_OPTIONS = (
    _BUNDLE,
    Option("-f --config", "FILE", "the name of the configuration in the bundle (default: config.json)"),
    _CONSOLE_SOCKET,
    _PID_FILE,
    Option("--pidfd-socket", "SOCKET", _LOST),
    Option("--preserve-fds", "N", _LOST),
    Option("--no-pivot", "", _IGNORED),
    Option("--no-new-keyring", "", _IGNORED),
    Option("--no-subreaper", "", _IGNORED),
)

_PREFIX = Option(
    "--prefix", "DIR", "the directory to install below (default: where this scrun is installed, else /usr/local)"
)
_DRY_RUN = Option("-n --dry-run", "", "print the changes without making them")

# runc's options of update, and crun's.
UPDATE_LIMITS = (
    *("--blkio-weight", "--cpu-period", "--cpu-quota", "--cpu-burst", "--cpu-share", "--cpu-rt-period"),
    *("--cpu-rt-runtime", "--cpuset-cpus", "--cpuset-mems", "--cpu-idle", "--memory", "--memory-reservation"),
    *(
        "--memory-swap",
        "--kernel-memory",
        "--kernel-memory-tcp",
        "--pids-limit",
        "--l3-cache-schema",
        "--mem-bw-schema",
    ),
)

COMMANDS = {
    "create": Command("Create a container: get its job and bring its files.", "container-id", *_CREATE_OPTIONS),
    "start": Command("Start the process of a created container.", "container-id"),
    "run": Command(
        "Run a container from start to end, with its exit status.",
        "container-id",
        Option("-d --detach", "", "leave it running and return"),
        Option("--keep", "", "don't delete it when it has ended"),
        *_CREATE_OPTIONS,
    ),
    "state": Command("Print a container's state as JSON.", "container-id"),
    "kill": Command(
        "Send a signal to a container, TERM unless it is named.",
        "container-id [signal]",
        Option(
            "-a --all",
            "",
            "no error for a container that has ended; else the signal goes to the first process, as with runc",
        ),
        Option("-r --regex", "", "CONTAINER-ID is a regular expression: signal every container that matches"),
    ),
    "delete": Command(
        "Delete a container; one that runs is killed.",
        "container-id",
        Option(
            "--force -f", "", "an unknown container is no error; a running container is killed even without this option"
        ),
        Option("-r --regex", "", "CONTAINER-ID is a regular expression: delete every container that matches"),
    ),
    "exec": Command(
        "Run a further process in a container, on its node.",
        "container-id [command...]",
        Option("-p --process", "FILE", "the process as JSON, in config.json's form, instead of COMMAND"),
        Option("-t --tty", "", "give it a terminal"),
        Option("-d --detach", "", "leave it running and return"),
        Option(
            "-e --env",
            "NAME=VALUE...",
            "add a variable to its environment; NAME alone takes your own value, if you have one",
        ),
        Option("--cwd", "DIR", "its working directory in the container (default: the container's)"),
        Option("-u --user", "UID[:GID]", "its user (default: the container's)"),
        Option("-g --additional-gids", "GID...", "a further group of its user"),
        Option("--node", "NAME", "the node to run on, for a container on several nodes (default: the first)"),
        _CONSOLE_SOCKET,
        _PID_FILE,
        Option("-c --cap", "CAP...", "add a capability"),
        Option("--no-new-privs", "", "the process can't gain privileges"),
        Option("--process-label", "LABEL", _LOST),
        Option("--apparmor", "PROFILE", _LOST),
        Option("--pidfd-socket", "SOCKET", _LOST),
        Option("--preserve-fds", "N", _LOST),
        Option("--cgroup", "PATH", _IGNORED),
        Option("--ignore-paused", "", "run it even in a container that is paused"),
    ),
    "list": Command(
        "List the containers with their jobs and nodes.",
        "",
        Option("-f --format", "FORMAT", "table (default) or json"),
        Option("-q --quiet", "", "their ids only"),
    ),
    "ps": Command(
        "List the processes of a container, on its node.",
        "container-id [ps-options...]",
        Option("-f --format", "FORMAT", "table (default) or json: their pids on the node"),
    ),
    "pause": Command("Stop every process of a container.", "container-id"),
    "resume": Command("Let every process of a paused container go on.", "container-id"),
    "update": Command(
        "Change a container's job, for example its time limit.",
        "container-id",
        Option("-r --resources", "FILE", "limits as JSON, as engines send them; - is standard input"),
        Option("--time-limit", "TIME", "the job's time limit: minutes, hours:minutes:seconds or days-hours"),
        Option("--set", "NAME=VALUE...", "set another property of the job, by the name in SCRUN_NAME: JOB_NAME=fit"),
        *(
            Option(spelling, "VALUE", "refused, because Slurm can't change this limit of a running job")
            for spelling in UPDATE_LIMITS
        ),
    ),
    "events": Command(
        "Print what a container uses, as JSON, until it ends.",
        "container-id",
        Option("--interval", "TIME", "the time between two events, e.g. 10, 10s or 1m30s (default: 5s)"),
        Option("--stats", "", "print once, instead of until the container ends"),
    ),
    "spec": Command(
        "Write a config.json to begin with: a shell at a terminal.",
        "",
        _BUNDLE,
        Option("-f --file", "FILE", "write it to this file (default: config.json in the bundle)"),
        Option("--rootless", "", "accepted, because containers are always rootless on the node"),
    ),
    "features": Command("Print what scrun supports, as the runtime-spec's JSON.", ""),
    "version": Command("Print the version.", ""),
    "doctor": Command(
        "Find problems on this host and on nodes, and say what to do.",
        "",
        Option("--node", "NAME...", "ask this node too, by a job step; NAME may be a list, node[1-4]"),
        Option("--all-nodes", "", "ask all nodes of the cluster"),
        Option("--wait", "SECONDS", "how long a node may take for each of its two steps (default: 30)"),
        Option("-f --format", "FORMAT", "table (default) or json, for a bug report: no secrets are in it"),
    ),
    "completion": Command("Print the completion script for bash, fish or zsh.", "shell"),
    "install": Command(
        "Install the quick program, its manual page and completion.",
        "",
        _PREFIX,
        Option(
            "--engines", "NAMES", "configure these engines for --runtime scrun too: podman, docker or podman,docker"
        ),
        _DRY_RUN,
        Option("--destdir", "DIR", "for makers of packages: write all files below DIR"),
        Option("--python", "PATH", "the Python that starts the program (default: the one that runs this command)"),
    ),
    "uninstall": Command("Remove the files that install wrote, except changed ones.", "", _PREFIX, _DRY_RUN),
    "lua check": Command(
        "Check a scrun.lua without a container.",
        "[file]",
    ),
}

# Commands of runc and crun that a job can't do. They fail with any arguments, also --help, because podman takes a
# successful `checkpoint --help` as support.
NOT_SUPPORTED = ("checkpoint", "restore")
