"""scrun ps."""

from __future__ import annotations

import sys

from scrun import fastjson, verbs
from scrun.lifecycle.operations import ps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log


def perform(call: Call, _logger: Log) -> None:
    """Print the container's processes."""
    form = verbs.form(call)
    container = verbs.container(call)
    if form == "table":
        sys.stdout.write(ps.table(container, call.arguments[1:]))
    elif call.globals["log_format"] == "json":  # docker's call: docker top would look up the pids on this host
        ps.refuse_engine()
    else:
        sys.stdout.write(fastjson.dumps(ps.pids(container)) + "\n")
