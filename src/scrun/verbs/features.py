"""scrun features."""

from __future__ import annotations

import json
import os
import sys

from scrun.lifecycle.operations import features

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log


def perform(_call: Call, _logger: Log) -> None:
    """Print the features document."""
    sys.stdout.write(json.dumps(features.features_document(os.environ), indent=2) + "\n")
