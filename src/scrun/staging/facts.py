"""What a host says of a path, so that two hosts' answers can be compared: see probe."""

from __future__ import annotations

import os
import stat

from scrun.staging.mountinfo import MountTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NamedTuple
else:
    from scrun.record import NamedTuple

# File systems that one running kernel has to itself: by their names in mountinfo, and by statfs(2)'s f_type, which is
# what stat(1) on a node tells, in the same order.
_LOCAL = {
    "ext2": "ef53",
    "ext3": "ef53",
    "ext4": "ef53",
    "xfs": "58465342",
    "btrfs": "9123683e",
    "tmpfs": "1021994",
    "overlay": "794c7630",
    "squashfs": "73717368",
    "zfs": "2fc12fc1",
    "f2fs": "f2f52010",
    "ramfs": "858458f6",
    "erofs": "e0f5e1e2",
    "jfs": "3153464a",
    "reiserfs": "52654973",
    "bcachefs": "ca451a4e",
}
LOCAL_MAGIC = frozenset(_LOCAL.values())


class Facts(NamedTuple):
    """What one host says of one path. ``names`` is a checksum of a directory's entries, "-" where there is none."""

    boot: str
    is_local: bool
    names: str
    device: int
    inode: int
    mode: int
    size: int
    mtime: str


def of(paths: Sequence[str]) -> list[Facts | None]:
    """This host's, None for a path that can't be looked at."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    return [_of(path, boot, MountTable.of("self")) for path in paths]


def _of(path: str, boot: str, mounts: MountTable | None) -> Facts | None:
    try:
        status = os.stat(path)
        names = _checksum(os.listdir(path)) if stat.S_ISDIR(status.st_mode) else "-"
    except OSError:
        return None
    mount = mounts.covering(os.path.realpath(path)) if mounts else None
    seconds, nanoseconds = divmod(status.st_mtime_ns, 10**9)
    return Facts(
        boot=boot,
        is_local=bool(mount and mount.fstype in _LOCAL),
        names=names,
        device=status.st_dev,
        inode=status.st_ino,
        mode=status.st_mode,
        size=status.st_size,
        mtime=f"{seconds}.{nanoseconds:09d}",
    )


def _checksum(names: list[str]) -> str:
    """What ``ls -A | cksum | tr ' ' .`` prints of a directory with these entries (POSIX, cksum)."""
    data = b"".join(sorted(os.fsencode(name) + b"\n" for name in names))
    length = len(data)
    crc = 0
    for byte in (*data, *length.to_bytes((length.bit_length() + 7) // 8, "little")):
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ 0x104C11DB7 if crc & 0x80000000 else crc << 1
    return f"{~crc & 0xFFFFFFFF}.{length}"
