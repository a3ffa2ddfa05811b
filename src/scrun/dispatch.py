"""Call the verb of a parsed command line (:mod:`scrun.verbs`), and open its log."""

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
    """Perform a call; return the exit status.

    Raises:
        ScrunError: the command failed.
    """
    if conf := call.globals["f"]:
        os.environ["SLURM_CONF"] = os.path.abspath(conf)
    module = __import__(f"scrun.verbs.{VERBS[call.command]}", fromlist=["perform"])  # loads no other module
    return module.perform(call, logger) or 0


def logger(call: Call) -> log.Log:
    """Open the log that the global options and the SCRUN_*_DEBUG variables ask for (scrun(1)).

    Raises:
        ScrunError: a level or a format doesn't exist, or the file can't be written.
    """
    options = call.globals
    if options["log_format"] not in (None, "text", "json"):
        raise UsageError(f"log format {options['log_format']!r} is unknown: use text or json")
    debug = "debug" if options["debug"] else None
    on_stderr = (None if options["log"] else debug) or log.variable("STDERR", os.environ)
    if not on_stderr and call.command in ("create", "run", "delete") and os.isatty(2):
        on_stderr = "info"
    levels = log.Levels(
        *_ranks(
            options["log_level"] or debug or log.variable("FILE", os.environ),
            on_stderr,
            log.variable("SYSLOG", os.environ),
        )
    )
    # podman prints "Error: scrun: " itself. podman calls scrun by conmon, which is recognized by its pipe.
    is_quoted = "_OCI_SYNCPIPE" in os.environ
    return log.Log(
        _log_file(options["log"] or ""), json=options["log_format"] == "json", levels=levels, is_quoted=is_quoted
    )


def _ranks(*names: str) -> list[int | None]:
    return [log.rank(name) if name else None for name in names]


def _log_file(spec: str) -> str:
    """The file that --log names; crun's ``file:PATH`` is accepted too, and its other backends are ignored."""
    backend, colon, path = spec.partition(":")
    if colon and backend in ("journald", "syslog"):
        return ""
    return path if colon and backend == "file" else spec
