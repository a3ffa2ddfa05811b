"""scrun create."""

from __future__ import annotations

import os

from scrun import verbs
from scrun.lifecycle.caller.options import Options, Output
from scrun.lifecycle.operations import create
from scrun.verbs import handed_on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log


def perform(call: Call, logger: Log) -> None:
    """Create the container."""
    create.create_container(verbs.root(call), call.arguments[0], options(call, logger), output(call, logger))


def options(call: Call, logger: Log) -> Options:
    """The options of create and run."""
    given = call.options
    handed_on.warn(given, os.environ, logger)
    return Options(
        given["bundle"] or ".",
        given["pid_file"] or "",
        given["console_socket"] or "",
        given["config"] or "config.json",
    )


def output(call: Call, logger: Log) -> Output:
    """Where messages go: the log, and a person's terminal if there is one."""
    live = None
    if os.isatty(2):
        from scrun.lifecycle.terminal.live_line import LiveLine

        live = LiveLine.for_a_person(logger)
    return Output(logger, call.globals["log"] or "", call.globals["log_format"] or "text", live)
