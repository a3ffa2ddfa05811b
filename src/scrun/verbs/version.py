"""scrun version."""

from __future__ import annotations

import sys

from scrun import VERSION_TEXT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log


def perform(_call: Call, _logger: Log) -> None:
    """Print the version."""
    sys.stdout.write(VERSION_TEXT + "\n")
