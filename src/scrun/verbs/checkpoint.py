"""scrun checkpoint."""

from __future__ import annotations

from scrun.errors import ScrunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log


def perform(_call: Call, _logger: Log) -> None:
    """Refuse the command.

    Raises:
        ScrunError: always.
    """
    raise ScrunError("checkpoint is not supported: a job's processes can't be saved")
