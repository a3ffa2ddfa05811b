"""scrun events."""

from __future__ import annotations

import sys

from scrun import fastjson, verbs
from scrun.lifecycle.operations import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.lifecycle.operations.events import Event
    from scrun.log import Log


def perform(call: Call, _logger: Log) -> None:
    """Print what the container uses."""
    interval = events.interval(call.options["interval"] or "5s")
    events.report_usage(verbs.container(call), None if call.options["stats"] else interval, _tell)


def _tell(event: Event) -> None:
    sys.stdout.write(fastjson.dumps(event) + "\n")
    sys.stdout.flush()
