"""scrun start."""

from __future__ import annotations

from scrun import verbs
from scrun.lifecycle.operations import start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log


def perform(call: Call, _logger: Log) -> None:
    """Start the container."""
    start.start_container(verbs.container(call))
