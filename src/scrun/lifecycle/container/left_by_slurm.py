"""What Slurm has left in a container's root filesystem (:mod:`scrun.staging.traces`), by its record.

The mount point of the agent's init is removed too (:mod:`scrun.bundle.agents`): it is there if the container has no
tmpfs in which it could be.
"""

from __future__ import annotations

from scrun.errors import NodeRuntimeError
from scrun.slurm import node_runtime, srun
from scrun.staging import traces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.record import Record


def names(record: Record) -> list[str]:
    """The directories that are there for the container's step or because of it, the innermost first."""
    found = _traces(record)
    return [*_of_the_step(record, found), *reversed(found.made)]


def remove(record: Record) -> None:
    """Remove them here, where the container has run on what is here; with a copy, the nodes do that."""
    staged = record["staged"]
    if not staged.get("node_parent") or not any(part[0] == "rootfs" for part in staged.get("parts", ())):
        found = _traces(record)
        traces.remove_traces(record["rootfs"], found, _of_the_step(record, found))


def _traces(record: Record) -> traces.Traces:
    """Slurm's, or none."""
    return traces.Traces(*(record["staged"].get("traces") or ("", "")))


def _of_the_step(record: Record, found: traces.Traces) -> list[str]:
    init = record.get("init", "").strip("/").rpartition("/")[0]
    paths = [init] if init else []
    if not found.rest or not record.get("step"):
        return paths
    values = {"j": str(record["job"]), "s": str(record["step"]), "t": "0"}
    values.update(u=str(record["user"]), U=str(record["uid"]))
    for host in srun.expand_nodes(record["nodes"]):
        try:
            parts = node_runtime.expand(found.rest, {**values, "n": host}).split("/")
        except NodeRuntimeError:  # the node alone knows
            return paths
        paths += ["/".join((found.place, *parts[:count])) for count in range(len(parts), 0, -1)]
    return list(dict.fromkeys(paths))
