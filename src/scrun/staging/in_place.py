"""Overwrite an existing file in place, so that its names, its owner, mounts of it and open descriptors stay valid.

A bound file is the same file for the container and for others on this host, so it can't be replaced by a new file. The
old content is overwritten only when there is room for the new content (posix_fallocate(3), fsync(2)).
"""

from __future__ import annotations

import errno
import os
import stat

from scrun.staging import trees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_NOT_KNOWN = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV)  # the file system has no such call


def open_existing(path: str, known: tuple[int, int] = (0, 0), *, directory_is_ours: bool = False) -> int:
    """Open a regular file for writing.

    Args:
        path: the file's path.
        known: the identity that the file must have (:func:`scrun.staging.trees.identity`); (0, 0) for any.
        directory_is_ours: whether the file's directory is scrun's own, so that the path may have links before it.

    Raises:
        OSError: the path is a link, isn't a regular file, or has another identity.
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
    """Replace the content of an open file.

    Args:
        descriptor: the file.
        size: bytes of the new content.
        write: is called with the descriptor, and writes the content.
        safely: whether to wait until the content is on the disk; not needed for a copy.

    Raises:
        OSError: without room the file keeps its content; after another failure the content must be kept elsewhere.
    """
    _make_room(descriptor, size, safely)
    os.lseek(descriptor, 0, os.SEEK_SET)
    write(descriptor)
    os.ftruncate(descriptor, size)
    if safely:
        os.fsync(descriptor)  # NFS reports a full quota or a broken disk here at the latest


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes of ``data``."""
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
