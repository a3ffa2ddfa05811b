"""Namespaces that the stand-in moves to, where a container's own process would be in one.

What is imported here is imported by the stand-ins that move, and by no other process that stays.
"""

from __future__ import annotations

import os

CLONE_NEWNS, CLONE_NEWPID = 0x20000, 0x20000000  # unshare(2); os has them from Python 3.12 on
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000


def unshare(flags: int) -> None:
    """unshare(2).

    Raises:
        OSError: it isn't allowed.
    """
    if hasattr(os, "unshare"):
        os.unshare(flags)
        return
    import ctypes  # Python 3.11

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def enter_new_network_namespace() -> str:
    """Leave the machine's network namespace for a new one; the answer is empty, or says why not."""
    for flags in (_CLONE_NEWNET, _CLONE_NEWUSER | _CLONE_NEWNET):  # a plain user may do it only with a user namespace
        try:
            unshare(flags)
        except OSError as error:
            why = error.strerror
        else:
            return ""
    return f"can't make a network namespace for the container's process: {why}"


def begin_in_new_pid_namespace() -> int:
    """Go on as the first process of a new pid namespace, where that is allowed.

    Only a child can be in one, so this process ends, and its children are left to whom create's are left to when it
    exits. The result is the pid as those outside see it; 0 when everything is as it was.
    """
    try:
        unshare(CLONE_NEWPID)
    except OSError:
        return 0
    ours, theirs = os.pipe()
    if pid := os.fork():
        os.write(theirs, b"%d" % pid)
        os._exit(0)
    os.close(theirs)
    os.setsid()  # what is meant for one process group is for this process alone, as before
    told = os.read(ours, 32)
    os.read(ours, 1)  # until the other has gone: who wants to wait for this process is its parent now
    os.close(ours)
    return int(told)
