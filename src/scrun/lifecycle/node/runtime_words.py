"""How a script on a container's node calls the node's own runtime for that container."""

from __future__ import annotations

from scrun.slurm import node_runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.record import Record


def call(record: Record) -> tuple[str, str]:
    """The shell words before the runtime's verb, and the container's name in that runtime.

    Both may use ``$SLURMD_NODENAME``. The name may use ``$task``, because each task of the job is a container of its
    own.

    Raises:
        NodeRuntimeError: oci.conf doesn't tell how the runtime is called.
    """
    values = {"n": "$SLURMD_NODENAME", "j": str(record["job"]), "s": str(record.get("step") or 0), "t": "$task"}
    values.update(u=str(record["user"]), U=str(record["uid"]))
    return node_runtime.command(record["runtime"], values)
