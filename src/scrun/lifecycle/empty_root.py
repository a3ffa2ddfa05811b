"""What podman finds of a container on this host, where it looks by itself.

podman top and podman cp ask no runtime: they join the mount namespace of the pid file's process, and read /proc or copy
files there (containers/psgo; libpod, joinMountAndExec). The stand-in's would be this host's, with all its processes
and files. So the stand-in of a podman's container gets a mount namespace of its own, whose root is an empty file
system. In its /proc there is one process, whose command says where the container's are. The stand-in itself goes on to
see this host's files: a mount on top of / is seen by who joins the namespace, not by who has its root below.

(With options that psgo doesn't know, podman top runs ps in the container, which is right as it is.)
"""

from __future__ import annotations

import os

from scrun.lifecycle.standin import unshare

_CLONE_NEWNS = 0x20000  # unshare(2)

# mount(8), because mount(2) would need ctypes, a megabyte in every stand-in. -n: nothing is written to /run.
_SCRIPT = """
mount -n --make-rslave / || exit
mount -n -t tmpfs -o mode=755,size=64k scrun "$1" || exit
cd "$1" && mkdir -p proc/1/attr proc/1/ns dev/pts || exit
printf '%s\\n' "$2" >proc/stat
printf '%s\\n' "$3" >proc/1/stat
printf 'Name: scrun\\nState: S\\nPid: 1\\nPPid: 0\\nUid: 0 0 0 0\\nGid: 0 0 0 0\\n' >proc/1/status
printf '%s' "$4" >proc/1/cmdline
: >proc/1/attr/current
ln -s "$5" proc/1/ns/pid
cd /
mount -n -o remount,ro "$1"
mount -n --move "$1" / || umount -n -l "$1"
"""


def enter(container_id: str, directory: str) -> None:
    """Have this process, the stand-in, be in such a namespace, if it may.

    ``directory`` is the container's own: any would do that nobody needs by its path meanwhile.
    """
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        with open("/proc/stat", encoding="ascii") as file:
            boot = next(line.strip() for line in file if line.startswith("btime"))
        pid_namespace = os.readlink("/proc/self/ns/pid")
        unshare(_CLONE_NEWNS)
    except (OSError, StopIteration):
        return
    stat = f"1 (scrun) {fields[0]} 0 {' '.join(fields[2:])}"
    where = f"[on a node of Slurm; see: podman exec {container_id[:12]} ps, or: scrun ps {container_id}]"
    child = os.fork()
    if not child:
        try:
            words = ["sh", "-c", _SCRIPT, "sh", directory, boot, stat, where, pid_namespace]
            os.execve("/bin/sh", words, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        finally:
            os._exit(127)
    os.waitpid(child, 0)
