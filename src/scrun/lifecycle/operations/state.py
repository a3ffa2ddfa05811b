"""state: what a container is now (runtime-spec, runtime.md, State)."""

from __future__ import annotations

from scrun import OCI_VERSION
from scrun.lifecycle.container import status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from scrun.lifecycle.container.directory import Container


def run(container: Container) -> dict[str, Any]:
    """The document that `state` prints, with runc's additions to the specification's.

    ``pid`` is 0 for a container that is stopped; ``created`` is RFC 3339 in UTC with nanoseconds.
    """
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
