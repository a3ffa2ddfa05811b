"""scrun completion."""

from __future__ import annotations

import sys

from scrun import completion
from scrun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log


def perform(call: Call, _logger: Log) -> None:
    """Print the completion script for a shell."""
    (shell,) = call.arguments
    if shell not in completion.SHELLS:
        raise UsageError(f"there is no completion for {shell!r}: name one of {', '.join(completion.SHELLS)}")
    from scrun import cli

    sys.stdout.write(cli.completion_script(shell))
