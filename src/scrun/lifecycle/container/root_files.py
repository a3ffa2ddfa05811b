"""Small files of the user's own below ROOT, for all of the user's containers. No container's id begins with a dot."""

from __future__ import annotations

import fcntl
import os

HELD = -2  # instead of a descriptor: another process has the lock


def lock(path: str) -> int:
    """Take a lock, which lasts until the descriptor is closed; -1 if there can be none, or :data:`HELD`."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return -1
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return HELD
    return descriptor


def replace(path: str, text: str) -> None:
    """Write a file, in one step for its readers. It stays what it was where nothing can be written."""
    fresh = f"{path}.{os.getpid()}"
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
            file.write(text)
        os.rename(fresh, path)
    except OSError:
        pass
