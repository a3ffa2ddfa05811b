"""Move a process into new namespaces; only stand-ins that need one import this module."""

from __future__ import annotations

import os

CLONE_NEWNS, CLONE_NEWPID = 0x20000, 0x20000000  # unshare(2); os has them from Python 3.12 on
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000


def unshare(flags: int) -> None:
    """Call unshare(2).

    Raises:
        OSError: the call isn't allowed.
    """
    if hasattr(os, "unshare"):
        os.unshare(flags)
        return
    import ctypes  # Python 3.11

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def enter_new_network_namespace() -> str:
    """Move into a new network namespace; return an empty text, or why that failed."""
    for flags in (_CLONE_NEWNET, _CLONE_NEWUSER | _CLONE_NEWNET):  # a plain user needs a user namespace too
        try:
            unshare(flags)
        except OSError as error:
            why = error.strerror
        else:
            return ""
    return f"can't make a network namespace for the container's process: {why}"


def begin_in_new_pid_namespace() -> int:
    """Go on as the first process of a new pid namespace.

    Only a child can be in a new pid namespace. So this process forks and ends, and the nearest subreaper gets the child
    (conmon, containerd's shim).

    Returns:
        In the child, its pid as processes outside see it; 0 if there can be no new namespace, and nothing has changed.
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
    os.setsid()  # so that a signal to a process group reaches this process only, as before
    told = os.read(ours, 32)
    os.read(ours, 1)  # returns when the parent has ended, so that the subreaper is this process's parent now
    os.close(ours)
    return int(told)
