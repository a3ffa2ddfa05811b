"""stage_out: bring back what the container changed, and remove what stage_in made. discard: only remove."""

from __future__ import annotations

import errno
import os
import stat

from scrun.errors import StagingError
from scrun.staging import in_place, traces
from scrun.staging.ownership import acting_as
from scrun.staging.spool import remove_spool
from scrun.staging.stage_options import StagingOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scrun.staging.model import ContainerFiles, Copy, LogCall, NodeSteps, Staged

_KEPT = "/var/tmp"  # noqa: S108  each file is in a directory that mkdtemp(3) makes


def stage_out(
    container: ContainerFiles,
    staged: Staged,
    step: NodeSteps,
    *,
    log: LogCall,
    options: object = None,
    files_back: Callable[[], None] = lambda: None,
    left: Sequence[str] = (),
    leave_alone: Callable[[], float] = lambda: 0.0,
) -> None:
    """Bring changes back and clean up. Without carried files no step is started.

    Changes to the root filesystem and to writable mounts come back from every node. A file that several nodes changed
    comes from the first of them.

    Args:
        container: the container.
        staged: what stage_in returned.
        step: runs commands on the nodes.
        log: is called with a level and a message.
        options: the options of ``scrun.stage_out{…}``.
        files_back: is called when all changes are back, before the clean-up.
        left: directories of the root filesystem that Slurm has left, the innermost first; empty ones are no change.
        leave_alone: returns the time (time.monotonic) before which no file is made, because its directory may be
            removed until then.

    Raises:
        StagingError: the changes that did not come back, and where they still are.
    """
    chosen = StagingOptions.for_stage_out(options)
    failed: list[str] = []
    try:
        if chosen.bring_back:
            failed = [said for copied in staged.copies if (said := _bring_back_copy(container, copied))]
        if staged.node_parent:
            left_by_slurm = left if chosen.bring_back else None
            _leave_nodes(container, staged, step, log, files_back, left_by_slurm, leave_alone)
    except StagingError as error:
        failed.append(str(error))
    finally:
        if staged.spool:
            remove_spool(staged.spool)
    if failed:
        raise StagingError("; ".join(failed))


def discard(staged: Staged, step: NodeSteps | None, *, log: LogCall) -> None:
    """Remove what stage_in made, and bring nothing back. It may be repeated; failures are logged only.

    Without a step the directories on the nodes stay, because the job's end doesn't remove them.
    """
    try:
        if staged.spool:
            remove_spool(staged.spool)
        if staged.traces and staged.traces.times:
            traces.remove_traces(staged.rootfs, staged.traces)
        if staged.node_parent and step is not None:
            from scrun.staging import node_directory

            node_directory.remove_directory(step, staged.node_parent, staged.node_home, staged.node_name)
    except (StagingError, OSError) as error:
        log("info", f"cleaning up: {error}")


def _leave_nodes(
    container: ContainerFiles,
    staged: Staged,
    step: NodeSteps,
    log: LogCall,
    files_back: Callable[[], None],
    left: Sequence[str] | None,
    leave_alone: Callable[[], float],
) -> None:
    from scrun.staging import node_directory

    writable = [part for part in staged.parts if part.writable]
    if writable and left is not None:
        from scrun.staging.bring_back import bring_back

        bring_back(
            *(container, staged, step),
            log=log,
            files_back=files_back,
            left=left,
            leave_alone=leave_alone,
        )
        return
    files_back()
    node_directory.remove_directory(step, staged.node_parent, staged.node_home, staged.node_name)


def _bring_back_copy(container: ContainerFiles, copied: Copy) -> str:
    """Write a changed copy back into its source; return "", or the reason for a failure and where the copy is now."""
    try:
        # The job's user may have replaced the copy by anything.
        source = os.open(copied.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):  # another kind of file is no change of the file
            return ""
        return f"{copied.source}: its change can't be read in {copied.path}: {error.strerror}"
    try:
        status = os.fstat(source)
        unchanged = (status.st_size, status.st_mtime_ns) == (copied.size, copied.mtime_ns)
        if unchanged or not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            return ""
        with acting_as(container):
            try:
                target = in_place.open_existing(copied.source)
                try:
                    in_place.overwrite_by(target, source)
                finally:
                    os.close(target)
            except OSError as error:
                return f"{copied.source}: its change is not brought back: {error.strerror}: {_keep(copied, source)}"
        return ""
    finally:
        os.close(source)


def _keep(copied: Copy, source: int) -> str:
    """Write a changed file to /var/tmp, because the spool is removed; return where it is, for a message."""
    import shutil
    import tempfile

    path = ""
    try:
        directory = tempfile.mkdtemp(prefix="scrun-kept-", dir=_KEPT)
        path = os.path.join(directory, os.path.basename(copied.source))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(source).st_size
            in_place.copy(in_place.reader(source), descriptor, in_place.data_in(source, size))
            os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)
    except OSError as error:
        if path:
            shutil.rmtree(os.path.dirname(path), ignore_errors=True)  # a part of it is of no use, and fills the disk
        return f"it is lost, since {_KEPT} can't take it either: {error.strerror}"
    return f"it is kept as {path}"
