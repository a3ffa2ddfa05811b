"""The copy of scrun that this process runs from (:mod:`scrun.versions`), held as long as it may import more of it."""

from __future__ import annotations

import fcntl
import os

import scrun
from scrun.lifecycle.process import fork

LOCK = "lock"
_HOME = os.path.dirname(scrun.__path__[0])


def hold() -> None:
    """Hold it, for all processes that are forked from this one; where it is no such copy there is nothing to hold."""
    if fork.kept_open:
        return
    try:
        descriptor = os.open(f"{_HOME}/{LOCK}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        pass  # somebody's exclusive lock, or a file server without locks: that the file is open tells, too
    fork.kept_open.add(descriptor)
