"""scrun exec."""

from __future__ import annotations

from scrun import verbs
from scrun.errors import ScrunError
from scrun.lifecycle import exec as lifecycle_exec
from scrun.lifecycle import exec_script

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log

_MEANINGLESS = ("process_label", "apparmor", "pidfd_socket", "preserve_fds", "cgroup")


def perform(call: Call, logger: Log) -> int:
    """Run the process; the result is its exit status, or 255 when it could not be run."""
    given = call.options
    for name in _MEANINGLESS:
        if given[name]:
            logger.debug(f"--{name.replace('_', '-')} has no meaning for a container on another host")
    options = lifecycle_exec.Options(
        words=call.arguments[1:],
        **{name: value for name, value in given.items() if name not in _MEANINGLESS},
    )
    try:
        return lifecycle_exec.run(verbs.container(call), options, logger.debug)
    except ScrunError as error:
        error.exit_code = exec_script.CODE
        raise
