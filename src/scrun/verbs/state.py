"""scrun state."""

from __future__ import annotations

import sys

from scrun import fastjson, verbs
from scrun.lifecycle.operations import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log


def perform(call: Call, _logger: Log) -> None:
    """Print the container's state as JSON."""
    sys.stdout.write(fastjson.dumps(state.state_of(verbs.container(call, anybodys=True))) + "\n")
