"""scrun exec."""

from __future__ import annotations

import os

from scrun import verbs
from scrun.errors import ScrunError
from scrun.lifecycle.operations import exec as lifecycle_exec
from scrun.verbs import handed_on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log


def perform(call: Call, logger: Log) -> int:
    """Run a process in a container; return its exit status. An error has 255 as its exit code, as with runc."""
    handed_on.warn(call.options, os.environ, logger)
    others = handed_on.names()
    options = lifecycle_exec.ExecOptions(
        words=call.arguments[1:],
        **{name: value for name, value in call.options.items() if name not in others},
    )
    try:
        return lifecycle_exec.run_in_container(verbs.container(call), options, logger.debug)
    except ScrunError as error:
        error.exit_code = lifecycle_exec.CODE
        raise
