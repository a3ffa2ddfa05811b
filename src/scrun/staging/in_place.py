"""Overwrite an existing file in place, so that its names, its owner, mounts of it and open descriptors stay valid.

A bound file is the same file for the container and for others on this host, so it can't be replaced by a new file. The
old content is overwritten only when there is room for the new content (posix_fallocate(3), fsync(2)).

A container makes a file of any size at no cost, by a hole in it. So holes stay holes, and no content is held in memory.
"""

from __future__ import annotations

import errno
import os
import stat

from scrun.staging import trees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Data = Sequence[tuple[int, int]]  # first byte, and the byte after the last one, of what isn't a hole

_CHUNK = 1 << 20  # bytes
_MOST_PIECES = 10_000  # between holes; of a file with more the rest counts as one piece
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


def overwrite(
    descriptor: int, size: int, write: Callable[[int], object], *, data: Data | None = None, safely: bool = True
) -> None:
    """Replace the content of an open file.

    Args:
        descriptor: the file.
        size: bytes of the new content.
        write: is called with the descriptor, and writes the content.
        data: the pieces of the new content that aren't holes, if it has holes.
        safely: whether to wait until the content is on the disk; not needed for a copy.

    Raises:
        OSError: without room the file keeps its content; after another failure the content must be kept elsewhere.
    """
    _make_room(descriptor, size, [(0, size)] if data is None else data, safely)
    os.lseek(descriptor, 0, os.SEEK_SET)
    write(descriptor)
    os.ftruncate(descriptor, size)
    if safely:
        os.fsync(descriptor)  # NFS reports a full quota or a broken disk here at the latest


def overwrite_by(descriptor: int, source: int) -> None:
    """Replace the content of an open file by that of another open file.

    Raises:
        OSError: see :func:`overwrite`.
    """
    size, before = os.fstat(source).st_size, os.fstat(descriptor).st_size
    data = data_in(source, size)
    read = reader(source)
    overwrite(descriptor, size, lambda file: copy(read, file, data, zeros=min(before, size)), data=data)


def reader(source: int) -> Callable[[int, int], bytes]:
    """For :func:`copy`, of an open file."""
    return lambda size, position: os.pread(source, size, position)


def data_in(descriptor: int, size: int) -> Data:
    """The pieces of a file that aren't holes, as far as the file system tells (lseek(2), SEEK_DATA)."""
    pieces: list[tuple[int, int]] = []
    end = 0
    try:
        while end < size:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
            end = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
            if len(pieces) == _MOST_PIECES:
                return [*pieces, (start, size)]
            pieces.append((start, end))
    except OSError as error:
        if error.errno != errno.ENXIO:  # the rest is a hole
            return [(0, size)]
    return pieces


def copy(read: Callable[[int, int], bytes], descriptor: int, data: Data, *, zeros: int = 0) -> None:
    """Copy pieces of a file to the same places of another, and write zeros between them up to ``zeros``.

    Args:
        read: returns at most so many bytes (first argument) from a place (second argument); b"" at the end.
        descriptor: the other file.
        data: the pieces, in their order.
        zeros: the bytes of old content that the file may have.
    """
    position = 0
    for start, end in data:
        _clear(descriptor, position, min(start, zeros))
        position = start
        while position < end and (piece := read(min(_CHUNK, end - position), position)):
            os.lseek(descriptor, position, os.SEEK_SET)
            write_all(descriptor, piece)
            position += len(piece)
        position = end
    _clear(descriptor, position, zeros)


def _clear(descriptor: int, start: int, end: int) -> None:
    while start < end:
        start += os.pwrite(descriptor, bytes(min(_CHUNK, end - start)), start)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes of ``data``."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _make_room(descriptor: int, size: int, data: Data, safely: bool) -> None:
    old = os.fstat(descriptor).st_size
    if size <= old:
        return
    try:
        for start, end in data:
            if end > old:
                os.posix_fallocate(descriptor, max(start, old), end - max(start, old))
        if safely:
            os.fsync(descriptor)
    except OSError as error:
        os.ftruncate(descriptor, old)
        if error.errno not in _NOT_KNOWN:
            raise
