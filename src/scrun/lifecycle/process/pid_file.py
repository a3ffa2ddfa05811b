"""The pid file: what conmon and containerd's shim read to know which process to wait for."""

from __future__ import annotations

import fcntl
import os

from scrun.errors import ScrunError


def write_pid_file(path: str, pid: int) -> int:
    """Write the pid, digits only, and lock the file as scrun(1) promises; the descriptor returned holds the lock.

    Raises:
        ScrunError: it can't be written.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        os.write(descriptor, str(pid).encode())
    except OSError as error:
        raise ScrunError(f"can't write the pid file {path}: {error.strerror}") from error
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pass  # a file system without locks
    return descriptor
