"""Read a file that was small when it was looked at, and that somebody else may have replaced since."""

from __future__ import annotations

import errno
import os
import stat

MOST = 16 << 20  # bytes


def read(path: str, most: int = MOST) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: the file can't be read, is a pipe or the like, or has more than ``most`` bytes.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"more than {most >> 20} MiB: it was smaller when it was looked at", path)
    return data
