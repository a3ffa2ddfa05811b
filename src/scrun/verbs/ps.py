"""scrun ps."""

from __future__ import annotations

import sys

from scrun import fastjson, verbs
from scrun.errors import UsageError
from scrun.lifecycle import ps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log


def perform(call: Call, _logger: Log) -> None:
    """Print the container's processes."""
    form = call.options["format"] or "table"
    if form not in ("table", "json"):
        raise UsageError(f"format {form!r} is unknown: use table or json")
    container = verbs.container(call)
    if form == "table":
        sys.stdout.write(ps.table(container, call.arguments[1:]))
    elif call.globals["log_format"] == "json":  # an engine's call: docker top shows this host's processes by these pids
        ps.refuse_engine()
    else:
        sys.stdout.write(fastjson.dumps(ps.pids(container)) + "\n")
