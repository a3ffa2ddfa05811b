"""scrun lua check."""

from __future__ import annotations

import os

from scrun.lifecycle.operations import lua_check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log


def perform(call: Call, _logger: Log) -> int:
    """Print one line for each problem of the script, or that there is none; return 1 if there are problems."""
    path = call.arguments[0] if call.arguments else lua_check.default_script(os.environ)
    problems = lua_check.problems_in(path, os.environ)
    print("\n".join(problems) or f"{path}: ok")
    return 1 if problems else 0
