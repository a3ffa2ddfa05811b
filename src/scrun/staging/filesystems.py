"""Types of file systems that belong to one running kernel, so that another host never has the same files on them."""

from __future__ import annotations

# Names in mountinfo, and statfs(2)'s f_type, which stat(1) on a node prints. A file system in user space has no number.
_MAGIC = {
    "ext2": "ef53",
    "ext3": "ef53",
    "ext4": "ef53",
    "xfs": "58465342",
    "btrfs": "9123683e",
    "tmpfs": "1021994",
    "overlay": "794c7630",
    "fuse.fuse-overlayfs": "",
    "squashfs": "73717368",
    "zfs": "2fc12fc1",
    "f2fs": "f2f52010",
    "ramfs": "858458f6",
    "erofs": "e0f5e1e2",
    "jfs": "3153464a",
    "reiserfs": "52654973",
    "bcachefs": "ca451a4e",
}
LOCAL_TYPES = frozenset(_MAGIC)
LOCAL_MAGIC = frozenset(filter(None, _MAGIC.values()))
MEMORY_TYPES = frozenset(("tmpfs", "ramfs"))
# Types of which another host never has the same mount, because a mount's content depends on this kernel's memory.
HOST_ONLY_TYPES = MEMORY_TYPES | {"overlay"}
