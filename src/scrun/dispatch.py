"""From a command line that is understood to the verb that it names (:mod:`scrun.verbs`), and the log that it wants."""

from __future__ import annotations

import os

from scrun import log
from scrun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call

VERBS = {
    "lua check": "lua_check",
    "checkpoint": "checkpoint",
    "completion": "completion",
    "create": "create",
    "delete": "delete",
    "doctor": "doctor",
    "events": "events",
    "exec": "exec",
    "features": "features",
    "install": "install",
    "kill": "kill",
    "list": "list",
    "pause": "pause",
    "ps": "ps",
    "restore": "restore",
    "resume": "resume",
    "run": "run",
    "spec": "spec",
    "start": "start",
    "state": "state",
    "uninstall": "uninstall",
    "update": "update",
    "version": "version",
}
"""The module of each command, below :mod:`scrun.verbs`."""


def perform(call: Call, logger: log.Log) -> int:
    """Do what the call says; the result is the exit status.

    Raises:
        ScrunError: what went wrong, for a person.
    """
    if conf := call.globals["f"]:
        os.environ["SLURM_CONF"] = os.path.abspath(conf)
    module = __import__(f"scrun.verbs.{VERBS[call.command]}", fromlist=["perform"])  # the others are not loaded
    return module.perform(call, logger) or 0


def logger(call: Call) -> log.Log:
    """The log that the global options and the SCRUN_*_DEBUG variables ask for (scrun(1)).

    Raises:
        ScrunError: a level or a format that doesn't exist, a file that can't be written.
    """
    given = call.globals
    if given["log_format"] not in (None, "text", "json"):
        raise UsageError(f"log format {given['log_format']!r} is unknown: use text or json")
    debug = "debug" if given["debug"] else None
    on_stderr = (None if given["log"] else debug) or log.variable("STDERR", os.environ)
    if not on_stderr and call.command in ("create", "run", "delete") and os.isatty(2):
        on_stderr = "info"
    levels = log.Levels(
        *_ranks(
            given["log_level"] or debug or log.variable("FILE", os.environ),
            on_stderr,
            log.variable("SYSLOG", os.environ),
        )
    )
    # podman says "Error: scrun: " itself; conmon, by which it calls, is known by its pipe.
    is_quoted = "_OCI_SYNCPIPE" in os.environ
    return log.Log(
        _log_file(given["log"] or ""), json=given["log_format"] == "json", levels=levels, is_quoted=is_quoted
    )


def _ranks(*names: str) -> list[int | None]:
    return [log.rank(name) if name else None for name in names]


def _log_file(spec: str) -> str:
    """The file of a --log: crun writes ``file:PATH`` too, and has other backends, which are its own."""
    backend, colon, path = spec.partition(":")
    if colon and backend in ("journald", "syslog"):
        return ""
    return path if colon and backend == "file" else spec
