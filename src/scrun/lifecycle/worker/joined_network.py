"""The network of another container, which this one joins on their node: what is to be known of it.

The other container may still be queued, or be starting, when this one is created: a pod's containers are all started at
once. Then neither is known: whether its node can have the engine's network, and where that is found there.
"""

from __future__ import annotations

import os
import time

from scrun.errors import ContainerNotFound, StagingError
from scrun.lifecycle.container import network, status
from scrun.lifecycle.container.directory import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.container.record import Record
    from scrun.oci import Config

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # seconds between two looks at the other's record, which may be queued


def await_it(directory: str, config: Config, log: Callable[[str, str], None]) -> tuple[str, str, list[int]]:
    """Wait until the other container has its network; it may never be started, so one that isn't is not waited for.

    Args:
        directory: the other's.
        config: this container's config, as the engine wrote it.
        log: is called with a level and a message.

    Returns:
        The kind of this container's network; where on the node that of the other is found; and the uid and gid that
        this container has in the other's user namespace.

    Raises:
        StagingError: the other container has ended.
        DamagedRecord: its record can't be read.
    """
    root, container_id = os.path.split(directory)
    try:
        other = Container.open(root, container_id)
        _await(other, log)
    except ContainerNotFound as error:
        raise _ended(container_id) from error
    os.close(other.descriptor)
    return _found(other.record, config)


def _await(other: Container, log: Callable[[str, str], None]) -> None:
    is_told, pause = False, _FIRST_PAUSE
    while not _is_known(other.record):
        if other.status() == status.STOPPED:
            raise _ended(other.id)
        if not is_told:
            is_told = True
            log("info", f"container {other.id}, whose network this one joins, is waited for: it isn't running yet")
        time.sleep(pause)
        pause = min(pause * 1.2, _LONGEST_PAUSE)
        other.load()


def _is_known(record: Record) -> bool:
    if "staged" not in record:
        return False
    return "step" in record or record["status"] != status.RUNNING or not _is_carried(record)


def _is_carried(record: Record) -> bool:
    """Whether a container's network is an engine's, its own or another container's."""
    return record.get("network") in (network.ENGINE, network.JOINED)


def _found(record: Record, config: Config) -> tuple[str, str, list[int]]:
    if _is_carried(record):
        return network.JOINED, record["network_links"], record["network_user"]
    its = record.get("network", network.LATER)
    return network.wanted(config) if its == network.LATER else its, "", [0, 0]


def _ended(container_id: str) -> StagingError:
    return StagingError(f"container {container_id!r}, whose network this one shares, has ended meanwhile")
