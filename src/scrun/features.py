"""features: what this runtime supports (runtime-spec, features.md and features-linux.md)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAMESPACES = ("cgroup", "ipc", "mount", "network", "pid", "user", "uts")
_MOUNT_OPTIONS = (
    *("async", "atime", "bind", "defaults", "dev", "diratime", "dirsync", "exec", "mand", "noatime", "nodev"),
    *("nodiratime", "noexec", "nomand", "norelatime", "nostrictatime", "nosuid", "private", "rbind", "relatime"),
    *("remount", "ro", "rprivate", "rshared", "rslave", "rw", "shared", "slave", "strictatime", "suid", "sync"),
)


def document() -> dict[str, Any]:
    """The features document: what the nodes' crun or runc does for every container, and what is adapted away."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.2.1",
        "hooks": [],
        "mountOptions": list(_MOUNT_OPTIONS),
        "linux": {
            "namespaces": list(_NAMESPACES),
            "cgroup": {"v1": False, "v2": False, "systemd": False, "systemdUser": False, "rdma": False},
            "seccomp": {"enabled": True},
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": False}},
        },
        "potentiallyUnsafeConfigAnnotations": [],
    }
