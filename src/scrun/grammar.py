"""The command line's words: every command, its options and its arguments, in one table.

cli.py makes click commands of it, for people; argv.py reads the forms that docker and podman send straight off it, for
speed. Names are runc's and crun's; an option that has no meaning for a remote container is accepted and noted.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Option:
    """One option: its spellings, the name of its value (empty for a flag), and its help."""

    __slots__ = ("help", "metavar", "name", "spellings")

    def __init__(self, spellings: str, metavar: str, text: str) -> None:
        self.spellings = spellings.split()
        self.name = max(self.spellings, key=len).lstrip("-").replace("-", "_")
        self.metavar = metavar
        self.help = text


class Command:
    """One command: what it does, its options, its arguments (a last one in brackets may be left out)."""

    __slots__ = ("arguments", "help", "options")

    def __init__(self, text: str, arguments: str, *options: Option) -> None:
        self.help = text
        self.arguments = arguments.split()
        self.options = options


class Call:
    """A command line, understood."""

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

GLOBAL_OPTIONS = (
    Option("--root", "DIR", "where containers are kept (default: /run/user/UID/scrun)"),
    Option("--log", "FILE", "write messages to this file too"),
    Option("--log-format", "FORMAT", "of that file: text (default) or json"),
    Option("--log-level", "LEVEL", "of that file: quiet, fatal, error (default), info, verbose, debug to debug5"),
    Option("--debug", "", "log everything that helps to find a fault"),
    Option("-f", "FILE", "the slurm.conf to use"),
    Option("--cgroup-manager", "MANAGER", _IGNORED),
    Option("--criu", "PATH", _IGNORED),
    Option("--rootless", "VALUE", _IGNORED),
    Option("--systemd-cgroup", "", _IGNORED),
)

_CREATE_OPTIONS = (
    Option("-b --bundle", "DIR", "the bundle (default: the working directory)"),
    Option("-f --config", "FILE", "the name of the configuration in the bundle (default: config.json)"),
    Option("--console-socket", "SOCKET", "where the master of the container's terminal is sent"),
    Option("--pid-file", "FILE", "write the pid of the container's stand-in there"),
    Option("--pidfd-socket", "SOCKET", _IGNORED),
    Option("--preserve-fds", "N", _IGNORED),
    Option("--no-pivot", "", _IGNORED),
    Option("--no-new-keyring", "", _IGNORED),
    Option("--no-subreaper", "", _IGNORED),
)

COMMANDS = {
    "create": Command("Create a container: check it, get its job, stage its files.", "container-id", *_CREATE_OPTIONS),
    "start": Command("Start the process of a created container.", "container-id"),
    "state": Command("Print a container's state as JSON.", "container-id"),
    "kill": Command(
        "Send a signal (default: TERM) to a container's process.",
        "container-id [signal]",
        Option("-a --all", "", "accepted: the signal always goes to the first process, as with runc"),
        Option("-r --regex", "", "CONTAINER-ID is a regular expression: send it to every container that it fits"),
    ),
    "delete": Command(
        "Delete a container; one that runs is killed.",
        "container-id",
        Option("--force -f", "", "always implied, as scrun(1) says; an unknown container is no error then"),
        Option("-r --regex", "", "CONTAINER-ID is a regular expression: delete every container that it fits"),
    ),
    "features": Command("Print what this runtime supports as JSON (runtime-spec, features.md).", ""),
}
