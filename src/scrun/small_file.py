"""Read a file that was small when it was looked at, and that somebody else may have replaced since."""

from __future__ import annotations

import errno
import os
import stat

MOST = 16 << 20  # bytes


def read(path: str, most: int = MOST, *, dir_fd: int | None = None, follow: bool = True) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file's path.
        most: the largest size that is read, in bytes.
        dir_fd: the directory that ``path`` refers to.
        follow: whether the file may be a symbolic link.

    Raises:
        OSError: the file can't be read, is a pipe or the like, or has more than ``most`` bytes.
    """
    how = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, how, dir_fd=dir_fd)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(most + 1)
    finally:
        os.close(descriptor)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"more than {most >> 20} MiB", path)
    return data
