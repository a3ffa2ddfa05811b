"""What podman top is shown of a container.

It asks no runtime, but joins the mount namespace of the pid file's process and reads /proc there (containers/psgo). For
the stand-in that would be this host's, with everybody's processes. So the stand-in of a podman's container gets a mount
namespace of its own, in which /proc has one process, whose command says where the container's are. (With options that
psgo doesn't know, podman top runs ps in the container, which is right as it is.)
"""

from __future__ import annotations

import os

from scrun.lifecycle.standin import unshare

_CLONE_NEWNS = 0x20000  # unshare(2)

# mount(8), because mount(2) would need ctypes, a megabyte in every stand-in. -n: nothing is written to /run.
_SCRIPT = """
mount -n --make-rslave / || exit
mount -n -t tmpfs -o mode=755,size=64k scrun /proc && cd /proc && mkdir -p 1/attr 1/ns || exit
printf '%s\\n' "$1" >stat
printf '%s\\n' "$2" >1/stat
printf 'Name:\\tscrun\\nState:\\tS\\nPid:\\t1\\nPPid:\\t0\\nUid:\\t0\\t0\\t0\\t0\\nGid:\\t0\\t0\\t0\\t0\\n' >1/status
printf '%s' "$3" >1/cmdline
: >1/attr/current
ln -s "$4" 1/ns/pid
mount -n -o remount,ro /proc
"""


def enter(container_id: str) -> int:
    """Have this process, the stand-in, be there; the descriptor is for :func:`leave`, -1 where it isn't allowed."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        with open("/proc/stat", encoding="ascii") as file:
            boot = next(line.strip() for line in file if line.startswith("btime"))
        pid_namespace = os.readlink("/proc/self/ns/pid")
        home = os.open("/proc/self/ns/mnt", os.O_RDONLY)
        unshare(_CLONE_NEWNS)
    except (OSError, StopIteration):
        return -1
    stat = f"1 (scrun) {fields[0]} 0 {' '.join(fields[2:])}"
    where = f"[on a node of Slurm; see: podman exec {container_id[:12]} ps, or: scrun ps {container_id}]"
    words = ["sh", "-c", _SCRIPT, "sh", boot, stat, where, pid_namespace]
    child = os.fork()
    if not child:
        try:
            os.execve("/bin/sh", words, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        finally:
            os._exit(127)
    os.waitpid(child, 0)
    return home


def leave(home: int) -> None:
    """Go back to where the files are and /proc is the kernel's."""
    if hasattr(os, "setns"):
        os.setns(home, _CLONE_NEWNS)
        return
    import ctypes  # Python 3.11

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(home, _CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
