"""Tell which file system a path is on, and whether other processes of this host see the same files there.

Rootless podman mounts an image's overlay in its own mount namespace: the path exists for everybody, but is an empty
directory for all others. The mount table of pid 1 shows the difference. Anybody can read that table (proc(5)), unless
/proc is mounted with hidepid.
"""

from __future__ import annotations

import os

from scrun.mount import is_within
from scrun.staging.filesystems import LOCAL_TYPES, MEMORY_TYPES

TYPE_CHECKING = False  # importing typing would double what this costs (scrun.named_tuple)
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from scrun.named_tuple import NamedTuple


class Mount(NamedTuple):
    """A line of mountinfo: the part ``root`` of filesystem ``device`` is mounted on ``point``.

    ``options`` are the mount's own, ``data`` are those of the file system, separated by commas.
    """

    device: str
    root: str
    point: str
    fstype: str
    options: tuple[str, ...] = ()
    data: str = ""


class MountTable:
    """The mounts of one process."""

    def __init__(self, text: bytes) -> None:
        self.mounts = [_parse(line) for line in text.splitlines()]

    @classmethod
    def of(cls, process: str) -> MountTable | None:
        """The mounts of a process ("self", "1"); None if they can't be read."""
        try:
            with open(f"/proc/{process}/mountinfo", "rb") as file:
                return cls(file.read())
        except OSError:
            return None

    def covering(self, path: str) -> Mount | None:
        """The mount that shows ``path``, which is absolute and without symbolic links."""
        best = None
        for mount in self.mounts:
            # Of two on the same point the later one hides the earlier.
            if is_within(path, mount.point) and (best is None or len(mount.point) >= len(best.point)):
                best = mount
        return best

    def location(self, path: str) -> tuple[str, str] | None:
        """The device of the file system that ``path`` is on, and the path in it; None if no mount shows the path."""
        mount = self.covering(path)
        if mount is None:
            return None
        inside = os.path.relpath(path, mount.point)
        return mount.device, os.path.normpath(os.path.join(mount.root, inside))


class Visibility:
    """Facts about a path that need no question to the nodes.

    Args:
        shared: paths that the site declares shared with the nodes.
        ours: the mounts of this process.
        others: the mounts of pid 1.
    """

    def __init__(self, shared: tuple[str, ...], ours: MountTable | None, others: MountTable | None) -> None:
        self._shared = [(path, os.path.realpath(path)) for path in shared]
        self._ours = ours
        self._others = others

    def is_private(self, path: str) -> bool:
        """Whether only this mount namespace sees the files at ``path``, so that no node does."""
        if self._ours is None or self._others is None:
            return False
        real = os.path.realpath(path)
        return self._ours.location(real) != self._others.location(real)

    def is_shared(self, path: str) -> bool:
        """Whether the site declares the path shared, and no local file system is mounted in between."""
        real = os.path.realpath(path)
        for shared, top in self._shared:
            # The nodes get the path as it is written, so the written path must lie in the shared one as well.
            if is_within(path, shared) and is_within(real, top):
                return not self.is_private(path) and not self._is_local_mount(real, top)
        return False

    def is_memory(self, path: str) -> bool:
        """Whether the path is on a file system in this host's memory."""
        mount = None if self._ours is None else self._ours.covering(os.path.realpath(path))
        return mount is not None and mount.fstype in MEMORY_TYPES

    def _is_local_mount(self, path: str, top: str) -> bool:
        if self._ours is None:
            return True
        mount, above = self._ours.covering(path), self._ours.covering(top)
        if mount is None or above is None:
            return True
        # Any other file system below a shared path counts as shared, for example NFS under an automounter.
        return mount.device != above.device and mount.fstype in LOCAL_TYPES


def _parse(line: bytes) -> Mount:
    # 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    fields, _, tail = line.partition(b" - ")
    words = fields.split()
    device, root, point = (os.fsdecode(_unescape(word)) for word in words[2:5])
    fstype, data = (os.fsdecode(_unescape(word)) for word in (tail.split(b" ")[0], tail.split(b" ")[-1]))
    return Mount(device, root, point, fstype, tuple(words[5].decode().split(",")), data)


def _unescape(word: bytes) -> bytes:
    # Space, tab, newline and backslash are written as three octal digits.
    first, *rest = word.split(b"\\")
    return first + b"".join(bytes([int(piece[:3], 8)]) + piece[3:] for piece in rest)
