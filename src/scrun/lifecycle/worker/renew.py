"""Send small files to the nodes again that have changed since create (:mod:`scrun.lifecycle.container.latest`)."""

from __future__ import annotations

import binascii
import os

from scrun.errors import StagingError
from scrun.lifecycle.container import latest
from scrun.lifecycle.container.worker_messages import to_renew
from scrun.lifecycle.process import wire
from scrun.lifecycle.worker.host import variables
from scrun.lifecycle.worker.job_steps import JobSteps
from scrun.mount import is_below
from scrun.staging import in_place, node_directory
from scrun.staging.model import ContainerFiles
from scrun.staging.ownership import acting_as

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.record import Record
    from scrun.lifecycle.container.worker_messages import Renewed


def serve(channel: int, container: Container) -> None:
    """Serve one order.

    Raises:
        StagingError: a file can't be written.
    """
    if not (order := wire.Reader(channel).next(to_renew)):
        return
    record, plan = order["record"], order["plan"]
    staged = record["staged"]
    sums: Renewed = {"renewed": {}}
    steps = JobSteps(record, plan["staging"]["srun"], variables(record, plan["staging"], container.path))
    there: dict[str, bytes] = {}
    for index, (path, data) in latest.changed(staged, latest.fit(plan["staging"])).items():
        sums["renewed"][str(index)] = binascii.crc32(data)
        if staged.get("spool") and is_below(path, staged["spool"]):
            _write(record, path, data)
        else:
            there["/".join(path.split("/")[-2:])] = data
    if there:
        node_directory.write_again(
            steps, staged["node_parent"], staged.get("node_home", ""), staged["node_name"], there
        )
    wire.send(channel, sums)
    steps.wait()


def _write(record: Record, path: str, data: bytes) -> None:
    """Write a file in the spool with the rights of the job's user, because he may change the spool meanwhile."""
    uid, gid = record["uid"], record["gid"]
    try:
        with acting_as(ContainerFiles("", "", "", {}, 0, uid, gid)):
            descriptor = in_place.open_existing(path, directory_is_ours=True)
        try:
            in_place.overwrite(descriptor, len(data), lambda file: in_place.write_all(file, data), safely=False)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StagingError(f"{path}: can't be written anew: {error.strerror}") from error
