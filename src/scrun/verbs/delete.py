"""scrun delete."""

from __future__ import annotations

from scrun import verbs
from scrun.errors import ContainerNotFound
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.operations import delete

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log


def perform(call: Call, logger: Log) -> None:
    """Delete a container, or all that match."""

    def forget(container_id: str) -> None:
        try:
            container = Container.open(verbs.root(call), container_id, load=False)
            delete.delete_container(container, logger.say)
        except ContainerNotFound:
            if not delete.end_forgotten_job(verbs.root(call), container_id, logger.say) and not call.options["force"]:
                raise

    verbs.each(call, logger, forget)
