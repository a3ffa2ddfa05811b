"""The directories that Slurm leaves in a root filesystem, because slurmstepd mounts its own files there (oci.conf(5)).

The node's runtime makes that directory and the missing directories above it, and never removes them. An image under
construction would get one more with each RUN, and they would be among every container's changes. So scrun removes them
when the container has ended, unless they existed before.
"""

from __future__ import annotations

import os

from scrun.links import follow
from scrun.mount import is_covered
from scrun.staging import trees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NamedTuple

    from scrun.oci import Config
else:
    from scrun.named_tuple import NamedTuple


class Traces(NamedTuple):
    """The directory ``place``/``rest`` of a root filesystem; ``place`` is a path without links and leading slash.

    ``rest`` differs from step to step, with oci.conf's %-letters. ``made`` are ``place`` and the directories above it
    that did not exist, the outermost first. ``times`` are the mtimes, in ns, of the directory that contains the first
    of ``made``, before and after scrun made that one; empty if scrun didn't make it.
    """

    place: str
    rest: str
    made: tuple[str, ...] = ()
    times: tuple[int, ...] = ()


def foresee(config: Config, rootfs: str, pattern: str, *, make: bool) -> Traces | None:
    """Foresee the directories that slurmstepd's mount at ``pattern`` needs; None if they aren't in the root filesystem.

    With ``make`` the container runs on this very directory, so missing directories are made now. A node would make them
    too, but over NFS this host might not see them for a while (nfs(5), acdirmax).
    """
    if os.path.realpath(rootfs) == "/":
        return None  # the node's own root filesystem
    certain, percent, varying = pattern.partition("%")
    place, _, begun = certain.rpartition("/") if percent else (certain.rstrip("/"), "", "")
    names = names_in(rootfs, place)
    if not names or is_covered("/" + "/".join(names) + "/", [m["destination"] for m in config.get("mounts") or ()]):
        return None
    paths = ["/".join(names[: count + 1]) for count in range(len(names))]
    missing = [path for path in paths if not os.path.lexists(f"{rootfs}/{path}")]
    times = _make(rootfs, missing) if make and missing else ()
    return Traces(paths[-1], begun + percent + varying, tuple(missing), times)


def remove_traces(rootfs: str, traces: Traces, names: Sequence[str] = ()) -> None:
    """Remove ``names`` and then the directories of ``traces`` from the root filesystem, as far as they are empty."""
    above = os.path.dirname(traces.made[0]) if traces.made else ""
    try:
        is_as_left = bool(traces.times) and _mtime(rootfs, above) == traces.times[1]
        for name in (*names, *reversed(traces.made)):
            _rmdir(rootfs, name)
        if is_as_left:  # nobody else changed that directory, so it gets its old mtime
            _set_mtime(rootfs, above, traces.times[0])
    except OSError:
        pass


def names_in(rootfs: str, path: str) -> list[str]:
    """The names of a path in the container, with links followed; empty for a circle of links."""

    def target_of(names: list[str]) -> str:
        try:
            return os.readlink(os.path.join(rootfs, *names))
        except OSError:  # no link, or nothing: the node's runtime makes what is missing
            return ""

    try:
        return follow(path, target_of)[0]
    except OSError:
        return []


def _make(rootfs: str, missing: Sequence[str]) -> tuple[int, ...]:
    above = os.path.dirname(missing[0])
    try:
        before = _mtime(rootfs, above)
        for index, path in enumerate(missing):
            directory = open_within(rootfs, os.path.dirname(path))
            try:
                os.mkdir(os.path.basename(path), 0o755, dir_fd=directory)
            finally:
                os.close(directory)
            if not index:
                after = _mtime(rootfs, above)
    except OSError:  # read-only, or another user's: the node's runtime will say so, or can
        return ()
    return before, after


def _rmdir(rootfs: str, path: str) -> None:
    try:
        directory = open_within(rootfs, os.path.dirname(path))
    except OSError:
        return
    try:
        os.rmdir(os.path.basename(path), dir_fd=directory)
    except OSError:  # something is in it, or it was never made
        pass
    finally:
        os.close(directory)


def _mtime(rootfs: str, path: str) -> int:
    directory = open_within(rootfs, path)
    try:
        return os.fstat(directory).st_mtime_ns
    finally:
        os.close(directory)


def _set_mtime(rootfs: str, path: str, mtime: int) -> None:
    directory = open_within(rootfs, path)
    try:
        os.utime(directory, ns=(os.fstat(directory).st_atime_ns, mtime))
    finally:
        os.close(directory)


def open_within(rootfs: str, path: str) -> int:
    """A descriptor of a directory in the root filesystem; no link is followed, because a container may have made it."""
    directory = trees.open_directory(rootfs)
    for name in path.split("/") if path else ():
        try:
            below = trees.open_directory(name, directory)
        finally:
            os.close(directory)
        directory = below
    return directory
