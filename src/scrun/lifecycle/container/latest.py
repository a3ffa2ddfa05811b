"""Small files that an engine writes between create and start: podman fills in resolv.conf and hosts only then.

They were copied for the nodes at create. Where the copy is in the spool it is made again; what was carried to the nodes
is sent there again, by a worker, only when the content has changed.
"""

from __future__ import annotations

import binascii
import os

from scrun import small_file
from scrun.lifecycle.container import network
from scrun.mount import is_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrun.lifecycle.container.record import Record
    from scrun.lifecycle.container.staging_plan import StagingPlan
    from scrun.staging.model import StagedData


class Fit:
    """Makes the engine's files fit for the node's network (staging's Fit)."""

    def __init__(self, plan: StagingPlan, machine: str) -> None:
        from scrun.bundle import engine_files

        self._is_engines = plan["network"] != network.HOST  # whether the container was to have a network of its own
        self.files: Sequence[str] = engine_files.FILES if self._is_engines else (engine_files.HOSTS,)
        self._engine_files, self._machine = engine_files, machine
        self._host_name, self._login, self._gateways = plan["host_name"], plan["login"], plan["gateways"]

    def __call__(self, destination: str, data: bytes) -> bytes:
        """What is to be in it."""
        if destination == self._engine_files.HOSTS:
            data = self._engine_files.with_login(data, login=self._login, gateways=self._gateways)
        if not self._is_engines:
            return data
        try:
            with open(self._machine + destination, "rb") as file:
                machines = file.read()
        except OSError:
            machines = b""
        return self._engine_files.for_nodes_network(destination, data, host_name=self._host_name, machines=machines)


def fit(plan: StagingPlan, machine: str = "") -> Fit | None:
    """How small files are changed for the nodes.

    Where the container was to have no network of its own, only /etc/hosts is, and that only where the engine names its
    host there: docker writes the address of its bridge, and podman one that perhaps no node reaches.

    ``machine`` is the root of this machine's file system.
    """
    is_nodes = plan["network"] in (network.NODE, network.LATER)
    return Fit(plan, machine) if is_nodes or (plan["network"] == network.HOST and plan["gateways"]) else None


def renew(record: Record, plan: StagingPlan, *, write: bool = True, machine: str = "") -> bool:
    """Bring the spool's copies up to date; the result says whether some on the nodes are out of date.

    With ``write`` false nothing is written, and any that is out of date counts.
    """
    staged = record.get("staged") or {}
    left = False
    for index, (path, data) in changed(staged, fit(plan, machine)).items():
        spool = staged.get("spool")
        if not (write and spool and is_below(path, spool) and _overwrite(path, data)):
            left = True
            continue
        staged["texts"][index][3] = binascii.crc32(data)
        status = os.stat(path)
        for copy in staged.get("copies", ()):
            if copy[0] == path:
                copy[2:] = status.st_size, status.st_mtime_ns
    return left


def changed(staged: StagedData, fitted: Fit | None) -> dict[int, tuple[str, bytes]]:
    """Of the texts that are other than they were when they were copied: index, where the copy is, what is to be in it.

    What can't be read any more stays as it was copied.
    """
    found = {}
    for index, (path, source, destination, crc) in enumerate(staged.get("texts", ())):
        try:
            data = small_file.read(source)
        except OSError:
            continue
        if fitted and destination in fitted.files:
            data = fitted(destination, data)
        if binascii.crc32(data) != crc:
            found[index] = (path, data)
    return found


def _overwrite(path: str, data: bytes) -> bool:
    """Write a file of the spool anew, in place: its owner and its mode stay. Where it can't be it is as it was."""
    from scrun.staging import in_place

    try:
        descriptor = in_place.open_existing(path, directory_is_ours=True)
        try:
            in_place.overwrite(descriptor, len(data), lambda file: in_place.write_all(file, data), safely=False)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True
