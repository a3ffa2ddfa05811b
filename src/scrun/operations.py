"""From a command line that is understood to the verb that it names (:mod:`scrun.verbs`), and the log that it wants."""

from __future__ import annotations

import os

from scrun import log
from scrun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call

_LEVEL_VARIABLES = ("SCRUN_DEBUG", "SCRUN_STDERR_DEBUG", "SCRUN_FILE_DEBUG")


def perform(call: Call, logger: log.Log) -> int:
    """Do what the call says; the result is the exit status.

    Raises:
        ScrunError: what went wrong, for a person.
    """
    if conf := call.globals["f"]:
        os.environ["SLURM_CONF"] = os.path.abspath(conf)
    verb = __import__(f"scrun.verbs.{call.command.replace(' ', '_')}", fromlist=["perform"])
    return verb.perform(call, logger) or 0


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
