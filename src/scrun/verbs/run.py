"""scrun run."""

from __future__ import annotations

from scrun import verbs
from scrun.lifecycle.operations import run
from scrun.verbs import create

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log


def perform(call: Call, logger: Log) -> None:
    """Run the container, and exit with its exit status.

    Raises:
        SystemExit: the container has ended.
    """
    raise SystemExit(
        run.run_container(
            verbs.root(call),
            call.arguments[0],
            create.options(call, logger),
            create.output(call, logger),
            detach=call.options["detach"],
            keep=call.options["keep"],
        )
    )
