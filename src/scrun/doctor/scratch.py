"""Directories that a doctor needs while it runs, and the removal of those that a killed doctor has left.

The name tells whose a directory is: host, boot, pid namespace, pid and start time, as in a job's mark
(:mod:`scrun.lifecycle.container.origin`). A home directory may be shared by hosts, of which each judges its own.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile

from scrun.lifecycle.container import origin
from scrun.lifecycle.process import processes

_PREFIX = ".scrun-doctor-"


def make(parent: str) -> str:
    """Make a directory in ``parent`` that nobody else can enter, and return its path.

    Raises:
        OSError: there is no place for it.
    """
    _remove_left(parent)
    pid = os.getpid()
    return tempfile.mkdtemp(prefix=f"{_PREFIX}{_here()}.{pid:x}.{processes.start_time(pid):x}-", dir=parent)


def remove(path: str) -> None:
    """Remove such a directory, as far as it can be removed."""
    shutil.rmtree(path, ignore_errors=True)


def _here() -> str:
    host = origin.here()
    return f"{host.machine}.{host.boot}.{host.pids}"


def _remove_left(parent: str) -> None:
    try:
        names = [name for name in os.listdir(parent) if name.startswith(_PREFIX)]
    except OSError:
        return
    for name in filter(_is_left, names):
        path = os.path.join(parent, name)
        try:
            found = os.lstat(path)
        except OSError:
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
            remove(path)


def _is_left(name: str) -> bool:
    """Whether it is a directory of this host, whose doctor doesn't run any more."""
    parts = name.removeprefix(_PREFIX).rpartition("-")[0].split(".")
    if len(parts) != 5:
        return False
    machine, boot, pids, pid, started = parts
    here = origin.here()
    if not machine or machine != here.machine:
        return False
    if boot != here.boot:
        return True
    try:
        return pids == here.pids != "0" and not processes.is_alive(int(pid, 16), int(started, 16))
    except ValueError:
        return False
