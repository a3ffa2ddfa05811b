"""scrun create."""

from __future__ import annotations

from scrun import verbs
from scrun.lifecycle import create

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log


def perform(call: Call, logger: Log) -> None:
    """Create the container."""
    options = call.options
    for name in ("pidfd_socket", "preserve_fds", "no_pivot", "no_new_keyring", "no_subreaper"):
        if options[name]:
            logger.debug(f"--{name.replace('_', '-')} has no meaning for a container on another host")
    create.run(
        verbs.root(call),
        call.arguments[0],
        create.Options(
            options["bundle"] or ".",
            options["pid_file"] or "",
            options["console_socket"] or "",
            options["config"] or "config.json",
        ),
        create.Output(logger, call.globals["log"] or "", call.globals["log_format"] or "text"),
    )
