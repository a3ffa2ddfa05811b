"""scrun kill."""

from __future__ import annotations

from scrun import verbs
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.operations import kill

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log


def perform(call: Call, logger: Log) -> None:
    """Send a signal to a container, or to all that match."""
    number = kill.signal_number(call.arguments[1] if len(call.arguments) > 1 else "TERM")
    is_for_all = bool(call.options["all"])

    def send(container_id: str) -> None:
        kill.send_signal(Container.open(verbs.root(call), container_id), number, is_for_all=is_for_all)

    verbs.each(call, logger, send)
