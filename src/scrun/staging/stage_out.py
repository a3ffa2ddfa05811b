"""stage_out: brings back what the container changed, and removes what stage_in made; discard: only removes."""

from __future__ import annotations

import errno
import os
import stat

from scrun.errors import StagingError
from scrun.staging import in_place, traces
from scrun.staging.options import Options
from scrun.staging.ownership import acting_as
from scrun.staging.spool import remove_spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from scrun.staging.model import Container, Copy, Log, Staged, Step

_KEPT = "/var/tmp"  # noqa: S108  each file is in a directory that mkdtemp(3) makes


def stage_out(
    container: Container,
    staged: Staged,
    step: Step,
    *,
    log: Log,
    options: dict[str, Any] | None = None,
    files_back: Callable[[], None] = lambda: None,
    left: Sequence[str] = (),
    must_have_run: bool = False,
    leave_alone: Callable[[], float] = lambda: 0.0,
) -> None:
    """Bring changes back and clean up. Where nothing was carried no step is started.

    ``files_back`` is called when all is back, and only the cleaning up is left. ``left`` are directories of the root
    filesystem that are none of the container's, the innermost first: those that are empty are not brought back.
    ``must_have_run`` says that the container has ended with success: that none was run is an error then.
    ``leave_alone`` says until when (time.monotonic) no file may be made: what it is for may be removed.

    Changes to the root filesystem and to writable mounts come back from every node. What several nodes have changed is
    as the first of them has it.

    Raises:
        StagingError: the message says what didn't come back, and where it still is.
    """
    chosen = Options.for_stage_out(options)
    failed: list[str] = []
    try:
        if chosen.bring_back:
            failed = [said for copied in staged.copies if (said := _bring_back_copy(container, copied))]
        if staged.node_parent:
            left_by_slurm = left if chosen.bring_back else None
            _leave_nodes(container, staged, step, log, files_back, left_by_slurm, must_have_run, leave_alone)
    except StagingError as error:
        failed.append(str(error))
    finally:
        if staged.spool:
            remove_spool(staged.spool)
    if failed:
        raise StagingError("; ".join(failed))


def discard(staged: Staged, step: Step | None, *, log: Log) -> None:
    """Remove what stage_in made and bring nothing back. Can be repeated; what can't be done is said to ``log``.

    Without a step the directories on the nodes stay; the job's end doesn't remove them.
    """
    try:
        if staged.spool:
            remove_spool(staged.spool)
        if staged.traces and staged.traces.times:
            traces.remove(staged.rootfs, staged.traces)
        if staged.node_parent and step is not None:
            from scrun.staging import nodes

            nodes.remove(step, staged.node_parent, staged.node_home, staged.node_name)
    except (StagingError, OSError) as error:
        log("info", f"cleaning up: {error}")


def _leave_nodes(
    container: Container,
    staged: Staged,
    step: Step,
    log: Log,
    files_back: Callable[[], None],
    left: Sequence[str] | None,
    must_have_run: bool,
    leave_alone: Callable[[], float],
) -> None:
    from scrun.staging import nodes

    writable = [part for part in staged.parts if part.writable]
    if writable and left is not None:
        from scrun.staging.bring_back import bring_back

        bring_back(
            *(container, staged, step),
            log=log,
            files_back=files_back,
            left=left,
            must_have_run=must_have_run,
            leave_alone=leave_alone,
        )
        return
    files_back()
    nodes.remove(step, staged.node_parent, staged.node_home, staged.node_name)


def _bring_back_copy(container: Container, copied: Copy) -> str:
    """Write a changed file into the one that it is a copy of; or say why not, and where the changed one is now."""
    try:
        # The job's user may have put anything in its place.
        descriptor = os.open(copied.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            unchanged = (status.st_size, status.st_mtime_ns) == (copied.size, copied.mtime_ns)
            if unchanged or not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                return ""
            data = file.read()
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):  # it isn't the container's change
            return ""
        return f"{copied.source}: its change can't be read in {copied.path}: {error.strerror}"
    with acting_as(container):
        try:
            target = in_place.open_existing(copied.source)
            try:
                in_place.overwrite(target, len(data), lambda file: in_place.write_all(file, data))
            finally:
                os.close(target)
        except OSError as error:
            return f"{copied.source}: its change is not brought back: {error.strerror}: {_keep(copied, data)}"
    return ""


def _keep(copied: Copy, data: bytes) -> str:
    """Put a changed file where it stays, as the spool doesn't; say where that is."""
    import tempfile

    try:
        directory = tempfile.mkdtemp(prefix="scrun-kept-", dir=_KEPT)
        path = os.path.join(directory, os.path.basename(copied.source))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            in_place.write_all(descriptor, data)
        finally:
            os.close(descriptor)
    except OSError as error:
        return f"it is lost, since {_KEPT} can't take it either: {error.strerror}"
    return f"it is kept as {path}"
