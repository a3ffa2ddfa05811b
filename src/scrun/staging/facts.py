"""Facts about a path on one host, which probe.py compares between two hosts."""

from __future__ import annotations

import os
import stat

from scrun.staging.filesystems import LOCAL_TYPES
from scrun.staging.mountinfo import MountTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NamedTuple
else:
    from scrun.named_tuple import NamedTuple


class Facts(NamedTuple):
    """One host's facts about one path. ``names`` is a checksum of a directory's entries, "-" for another file."""

    boot: str
    is_local: bool
    names: str
    device: int
    inode: int
    mode: int
    size: int
    mtime: str


def describe(paths: Sequence[str]) -> list[Facts | None]:
    """This host's facts about each path; None for a path that can't be looked at."""
    with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
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
        is_local=bool(mount and mount.fstype in LOCAL_TYPES),
        names=names,
        device=status.st_dev,
        inode=status.st_ino,
        mode=status.st_mode,
        size=status.st_size,
        mtime=f"{seconds}.{nanoseconds:09d}",
    )


def _checksum(names: list[str]) -> str:
    """The output of ``ls -A | cksum | tr ' ' .`` in a directory with these entries (POSIX, cksum)."""
    data = b"".join(sorted(os.fsencode(name) + b"\n" for name in names))
    length = len(data)
    crc = 0
    for byte in (*data, *length.to_bytes((length.bit_length() + 7) // 8, "little")):
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ 0x104C11DB7 if crc & 0x80000000 else crc << 1
    return f"{~crc & 0xFFFFFFFF}.{length}"
