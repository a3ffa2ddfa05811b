"""From a command line that is understood to the operation that it names; what it returns is printed, if anything."""

from __future__ import annotations

import os
import sys

from scrun import identity, log
from scrun.errors import ContainerNotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call

_LEVEL_VARIABLES = ("SCRUN_DEBUG", "SCRUN_STDERR_DEBUG", "SCRUN_FILE_DEBUG")


def perform(call: Call, logger: log.Log) -> None:
    """Do what the call says.

    Raises:
        ScrunError: what went wrong, for a person.
    """
    if conf := call.globals["f"]:
        os.environ["SLURM_CONF"] = os.path.abspath(conf)
    PERFORMERS[call.command](call, logger)


def logger(call: Call) -> log.Log:
    """The log that the global options and the SCRUN_*_DEBUG variables ask for (scrun(1)).

    Raises:
        ScrunError: a level or a format that doesn't exist, a file that can't be written.
    """
    given = call.globals
    everywhere, stderr, file = (os.environ.get(name) for name in _LEVEL_VARIABLES)
    if given["log_format"] not in (None, "text", "json"):
        raise UsageError(f"log format {given['log_format']!r} is unknown: use text or json")
    debug = "debug" if given["debug"] else None
    stderr_default = "info" if call.command in ("create", "run") and os.isatty(2) else "error"
    return log.Log(
        _log_file(given["log"] or ""),
        json=given["log_format"] == "json",
        file_rank=log.rank(given["log_level"] or debug or file or everywhere or "error"),
        stderr_rank=log.rank((debug if not given["log"] else None) or stderr or everywhere or stderr_default),
    )


def _log_file(spec: str) -> str:
    """The file of a --log: crun writes ``file:PATH`` too, and has other backends, which are its own."""
    backend, colon, path = spec.partition(":")
    if colon and backend in ("journald", "syslog"):
        return ""
    return path if colon and backend == "file" else spec


def _root(call: Call) -> str:
    return os.path.abspath(call.globals["root"] or identity.default_root())


def _create(call: Call, logger: log.Log) -> None:
    from scrun.lifecycle import create

    options = call.options
    for name in ("pidfd_socket", "preserve_fds", "no_pivot", "no_new_keyring", "no_subreaper"):
        if options[name]:
            logger.debug(f"--{name.replace('_', '-')} has no meaning for a container on another host")
    create.run(
        _root(call),
        call.arguments[0],
        create.Options(
            options["bundle"] or ".",
            options["pid_file"] or "",
            options["console_socket"] or "",
            options["config"] or "config.json",
        ),
        create.Output(logger, call.globals["log"] or "", call.globals["log_format"] or "text"),
    )


def _start(call: Call, _logger: log.Log) -> None:
    from scrun.lifecycle import container, start

    start.run(container.Container.open(_root(call), call.arguments[0]))


def _state(call: Call, _logger: log.Log) -> None:
    from scrun import fastjson
    from scrun.lifecycle import container, state

    sys.stdout.write(fastjson.dumps(state.run(container.Container.open(_root(call), call.arguments[0]))) + "\n")


def _kill(call: Call, _logger: log.Log) -> None:
    from scrun.lifecycle import container, kill

    number = kill.signal_number(call.arguments[1] if len(call.arguments) > 1 else "TERM")
    for container_id in _ids(call):
        kill.run(container.Container.open(_root(call), container_id), number)


def _delete(call: Call, _logger: log.Log) -> None:
    from scrun.lifecycle import container, delete

    for container_id in _ids(call):
        try:
            delete.run(container.Container.open(_root(call), container_id, load=False))
        except ContainerNotFound:
            if not call.options["force"]:
                raise


def _ids(call: Call) -> list[str]:
    """The container that is named, or with --regex all that fit."""
    if not call.options["regex"]:
        return [call.arguments[0]]
    import re

    try:
        pattern = re.compile(call.arguments[0])
        return sorted(name for name in os.listdir(_root(call)) if pattern.search(name))
    except re.error as error:
        raise UsageError(f"{call.arguments[0]!r} is no regular expression: {error}") from error
    except FileNotFoundError:
        return []


def _features(_call: Call, _logger: log.Log) -> None:
    import json

    from scrun import features

    sys.stdout.write(json.dumps(features.document(), indent=2) + "\n")


PERFORMERS = {
    "create": _create,
    "start": _start,
    "state": _state,
    "kill": _kill,
    "delete": _delete,
    "features": _features,
}
