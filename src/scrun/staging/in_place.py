"""Writes an existing file anew, in place: its names, its owner, and whoever has it mounted or open, stay with it.

A bound file is one file for the container and for all who use it here; a new one in its place would be another. So
nothing of the old content is given up before there is room for the new (posix_fallocate(3)) and the disk has said so.
"""

from __future__ import annotations

import errno
import os
import stat

from scrun.staging import trees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_NOT_KNOWN = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV)  # file systems that have no such call


def open_existing(path: str, known: tuple[int, int] = (0, 0), *, directory_is_ours: bool = False) -> int:
    """A descriptor of a regular file to be written; OSError for a link, or what isn't ``known`` (see trees.py).

    The path to a directory of ours may have links in it.
    """
    if directory_is_ours:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    else:
        descriptor = trees.open_again(path, os.O_WRONLY | os.O_NONBLOCK, known)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a regular file any more", path)
    return descriptor


def overwrite(descriptor: int, size: int, write: Callable[[int], object], *, safely: bool = True) -> None:
    """Have ``write`` put the new content, of that size, into an open file, from the beginning.

    ``safely``: wait until it is on the disk. A copy needn't be.

    Raises:
        OSError: where there is no room the file is as it was; after other failures whoever has the content keeps it.
    """
    _make_room(descriptor, size, safely)
    os.lseek(descriptor, 0, os.SEEK_SET)
    write(descriptor)
    os.ftruncate(descriptor, size)
    if safely:
        os.fsync(descriptor)  # a full quota or a broken disk shows here at the latest (NFS)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _make_room(descriptor: int, size: int, safely: bool) -> None:
    old = os.fstat(descriptor).st_size
    if size <= old:
        return
    try:
        os.posix_fallocate(descriptor, old, size - old)
        if safely:
            os.fsync(descriptor)
    except OSError as error:
        os.ftruncate(descriptor, old)
        if error.errno not in _NOT_KNOWN:
            raise
