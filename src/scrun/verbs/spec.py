"""scrun spec."""

from __future__ import annotations

from scrun.lifecycle.operations import spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log


def perform(call: Call, _logger: Log) -> None:
    """Write a config.json. --rootless makes no difference, because containers are always rootless on the node."""
    spec.write_config(call.options["bundle"] or ".", call.options["file"] or "config.json")
