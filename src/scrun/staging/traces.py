"""The traces that Slurm leaves in a root filesystem: the place where slurmstepd mounts files of its own (oci.conf(5)).

The node's runtime makes that directory, and the missing ones on the way there, and leaves them behind: an image that is
built would get one more with each RUN, and every container's changes would begin with it. They are removed when the
container has ended, as far as they were not there before.
"""

from __future__ import annotations

import os

from scrun.links import follow
from scrun.mount import is_covered
from scrun.staging import trees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NamedTuple
else:
    from scrun.named_tuple import NamedTuple


class Traces(NamedTuple):
    """``place``/``rest`` is that directory in the root filesystem, by a path without links that begins with no slash.

    ``rest`` is what differs from step to step, with oci.conf's %-letters; ``made`` are those of ``place`` and the
    directories above it that weren't there, the outermost first; ``times`` what the mtime of the directory with the
    first of them was before and after that was made here, in ns, or empty where it wasn't.
    """

    place: str
    rest: str
    made: tuple[str, ...] = ()
    times: tuple[int, ...] = ()


def foresee(config: dict[str, Any], rootfs: str, pattern: str, *, make: bool) -> Traces | None:
    """What there will be when slurmstepd mounts something at the pattern; None where the root filesystem has no part.

    ``make``: the container runs on this very directory, so what is missing is made now. A node would make it too, but
    over NFS this host might not see for a while that it is there (nfs(5), acdirmax).
    """
    if os.path.realpath(rootfs) == "/":
        return None  # the node's own
    certain, percent, varying = pattern.partition("%")
    place, _, begun = certain.rpartition("/") if percent else (certain.rstrip("/"), "", "")
    names = resolve(rootfs, place)
    if not names or is_covered("/" + "/".join(names) + "/", [m["destination"] for m in config.get("mounts") or ()]):
        return None
    paths = ["/".join(names[: count + 1]) for count in range(len(names))]
    missing = [path for path in paths if not os.path.lexists(f"{rootfs}/{path}")]
    times = _make(rootfs, missing) if make and missing else ()
    return Traces(paths[-1], begun + percent + varying, tuple(missing), times)


def remove(rootfs: str, traces: Traces, names: Sequence[str] = ()) -> None:
    """Remove what was made on the root filesystem here, and before it ``names``; what isn't empty stays."""
    above = os.path.dirname(traces.made[0]) if traces.made else ""
    try:
        is_as_left = bool(traces.times) and _mtime(rootfs, above) == traces.times[1]
        for name in (*names, *reversed(traces.made)):
            _rmdir(rootfs, name)
        if is_as_left:  # nobody but we changed that directory, so nothing of it shall look changed
            _set_mtime(rootfs, above, traces.times[0])
    except OSError:
        pass


def resolve(rootfs: str, path: str) -> list[str]:
    """The names on the way to a path of the container; empty where its links lead nowhere."""

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
    """A descriptor of a directory in the root filesystem, in which no link is followed: the container made it."""
    directory = trees.open_directory(rootfs)
    for name in path.split("/") if path else ():
        try:
            below = trees.open_directory(name, directory)
        finally:
            os.close(directory)
        directory = below
    return directory
