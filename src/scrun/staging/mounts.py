"""What becomes of the config's mounts on a node."""

from __future__ import annotations

import os
import stat

from scrun.mount import is_bind, is_within_any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# A node has these of its own, and its container should see that node's.
_NODES_OWN = ("/proc", "/sys", "/dev")
# Beyond this a copy in the bundle's directory, which may be on a user's quota, is too much. podman's and docker's
# resolv.conf, hosts, hostname and .containerenv are some hundred bytes.
SMALL = 64 * 1024


class Bind:
    """A bind mount of the config whose source the nodes may not have."""

    def __init__(self, mount: dict[str, Any], source: str, mode: int, size: int) -> None:
        self.mount = mount
        self.source = source
        self.size = size
        self.is_directory = stat.S_ISDIR(mode)
        self.is_regular = stat.S_ISREG(mode)
        self.kind = _kind(mode)
        options = mount.get("options") or []
        self.writable = "ro" not in options and "rro" not in options
        self.recursive = "rbind" in options

    @property
    def is_small(self) -> bool:
        """Whether a copy costs next to nothing."""
        return self.is_regular and self.size <= SMALL


def binds(config: dict[str, Any], bundle: str, on_nodes: Sequence[str]) -> list[Bind]:
    """The bind mounts to look at, with absolute sources.

    Left out are the nodes' own: what lies under ``on_nodes``, the kernel's filesystems, and what doesn't exist here
    (the node's OCI runtime complains if it is not there either).
    """
    found = []
    for mount in config.get("mounts") or []:
        if not is_bind(mount):
            continue
        # runtime-spec, config.md, mounts: "relative to the bundle" where it isn't absolute.
        source = os.path.normpath(os.path.join(bundle, mount.get("source", "")))
        if is_within_any(source, (*_NODES_OWN, *on_nodes)):
            continue
        try:
            status = os.stat(source)
        except OSError:
            continue
        mount["source"] = source
        found.append(Bind(mount, source, status.st_mode, status.st_size))
    return found


def _kind(mode: int) -> str:
    for test, word in ((stat.S_ISSOCK, "socket"), (stat.S_ISFIFO, "named pipe"), (stat.S_ISDIR, "directory")):
        if test(mode):
            return word
    return "file" if stat.S_ISREG(mode) else "device"
