"""scrun pause."""

from __future__ import annotations

from scrun import verbs
from scrun.lifecycle.operations import pause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log


def perform(call: Call, _logger: Log) -> None:
    """Pause the container."""
    pause.pause_container(verbs.container(call))
