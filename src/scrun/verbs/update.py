"""scrun update."""

from __future__ import annotations

import sys

from scrun import verbs
from scrun.errors import ScrunError
from scrun.grammar import UPDATE_LIMITS
from scrun.lifecycle.operations import update

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scrun.grammar import Call
    from scrun.log import Log


def perform(call: Call, _logger: Log) -> None:
    """Change the container's job."""
    options = call.options
    names = [spelling.lstrip("-").replace("-", "_") for spelling in UPDATE_LIMITS]
    update.update_job(
        verbs.container(call),
        update.changes_of(options["set"] or (), options["time_limit"]),
        _resources(options["resources"]) if options["resources"] else {},
        {name: options[name] for name in names if options[name] is not None},
    )


def _resources(path: str) -> Any:
    try:
        if path == "-":
            return update.read_resources(sys.stdin.read(), "standard input")
        with open(path, encoding="utf-8") as file:
            return update.read_resources(file.read(), path)
    except (OSError, UnicodeDecodeError) as error:
        raise ScrunError(f"can't read the resources in {path}: {error}") from error
