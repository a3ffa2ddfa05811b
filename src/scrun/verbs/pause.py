"""scrun pause."""

from __future__ import annotations

from scrun.errors import ScrunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log


def perform(call: Call, _logger: Log) -> None:
    """Not there yet."""
    raise ScrunError(f"{call.command} is not there yet")
