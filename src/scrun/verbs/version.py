"""scrun version."""

from __future__ import annotations

import os
import sys

from scrun.lifecycle.operations import version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log


def perform(_call: Call, _logger: Log) -> None:
    """Print the version."""
    sys.stdout.write(version.describe_versions(os.environ) + "\n")
