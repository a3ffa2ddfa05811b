"""Why a container could not be run, where the reason is a node's that Slurm has taken out of service meanwhile.

A Prolog that fails, for example, says nothing to the job's user: slurmctld cancels the job and drains the node, and
srun waits in vain. The node's record has the reason, which everybody may read (sinfo -R).
"""

from __future__ import annotations

from scrun.errors import HookError, SlurmError, SlurmUnreachable, StagingError
from scrun.lifecycle.anchor.worker import Worker
from scrun.lifecycle.container.worker_messages import from_look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.errors import ScrunError
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.worker_messages import FromLook
    from scrun.lifecycle.process.loop import Loop

_PATIENCE = 3.0  # seconds; libslurm waits longer for a slurmctld that has gone
_MOST_NAMED = 5  # of the nodes


def explain(loop: Loop, container: Container, error: ScrunError, told: Callable[[ScrunError], None]) -> None:
    """Call ``told`` with the error, and with what is wrong with the nodes of the container's job, if anything is."""
    record = container.record
    is_slurms = isinstance(error, (SlurmError, StagingError, HookError)) and not isinstance(error, SlurmUnreachable)
    if not record.get("job") or not is_slurms:
        told(error)
        return
    answered = False

    def answer(found: dict[str, str]) -> None:
        nonlocal answered
        if answered:
            return
        answered = True
        loop.forget(timer)
        told(type(error)(f"{error}: {_words(found)}") if found else error)

    def said(message: FromLook) -> None:
        if "out_of_service" in message:
            answer(message["out_of_service"])

    timer = loop.after(_PATIENCE, lambda: answer({}))
    worker = Worker(loop, container, "look", from_look, said=said, ended=lambda: answer({}))
    worker.send({"job": record["job"], "nodes": record.get("nodes", "")})


def _words(found: dict[str, str]) -> str:
    named = ", ".join(f"{node} ({reason})" for node, reason in [*found.items()][:_MOST_NAMED])
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return f"Slurm has taken {named}{more} out of service: tell an administrator, or ask for other nodes (sinfo -R)"
