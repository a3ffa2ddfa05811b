"""state: what a container is now (runtime-spec, runtime.md, State)."""

from __future__ import annotations

from scrun import OCI_VERSION
from scrun.lifecycle.container import status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    from scrun.lifecycle.container.directory import Container

    class State(TypedDict):
        """The state of a container as `state` prints it: the specification's members, and some of runc's."""

        ociVersion: str
        id: str
        pid: int  # 0 if the container is stopped
        status: str
        bundle: str
        rootfs: str
        created: str  # RFC 3339, in UTC with nanoseconds
        owner: str  # the name of the user who created the container
        annotations: dict[str, str]


def state_of(container: Container) -> State:
    """Return the container's state."""
    record, now = container.record, container.status()
    return {
        "ociVersion": OCI_VERSION,
        "id": container.id,
        "pid": 0 if now == status.STOPPED else record["pid"],
        "status": now,
        "bundle": record["bundle"],
        "rootfs": record["rootfs"],
        "created": record["created"],
        "owner": record["owner"],
        "annotations": record["annotations"],
    }
