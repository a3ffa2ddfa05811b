"""Make mounts by system calls, which can take a mount tree here and attach it below another root directory.

mount(8) knows paths below one root only, and takes ten times as long for each mount.
"""

from __future__ import annotations

import ctypes
import os

_MS_RDONLY, _MS_REMOUNT, _MS_MOVE, _MS_REC, _MS_SLAVE = 0x1, 0x20, 0x2000, 0x4000, 0x80000  # mount(2)
_MNT_DETACH = 2  # umount2(2)
# The numbers are the same on all platforms but Alpha; the calls exist since Linux 5.2, the last since 5.12.
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH, _MOVE_MOUNT_T_SYMLINKS = 0x4, 0x10
_MOUNT_ATTR_RDONLY = 1
_MEMORY = "mode=755,size=64k"  # tmpfs(5)


class Mounting:
    """The system calls. Each raises OSError if it isn't allowed, or if the kernel doesn't have it."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def keep_to_ourselves(self) -> None:
        """Hide all later mounts from other mount namespaces (mount_namespaces(7), MS_SLAVE)."""
        self._mount("none", "/", "", _MS_REC | _MS_SLAVE)

    def new_memory(self, path: str) -> None:
        """Mount a small tmpfs on the directory."""
        self._mount("scrun", path, "tmpfs", 0, _MEMORY)

    def make_memory_read_only(self, path: str) -> None:
        """Make that tmpfs read-only, at all its mount points."""
        self._mount("scrun", path, "tmpfs", _MS_REMOUNT | _MS_RDONLY, _MEMORY)

    def move(self, path: str, target: str) -> None:
        """Move the mount at ``path``, with the mounts below it, to ``target``."""
        self._mount(path, target, "", _MS_MOVE)

    def unmount_all(self, path: str) -> None:
        """Unmount all mounts at ``path``, if there are any."""
        while not self._libc.umount2(os.fsencode(path), _MNT_DETACH):
            pass

    def tree(self, path: str, *, recursive: bool = False, read_only: bool = False) -> int:
        """Return a descriptor of a copy of the mount tree at ``path``, for :meth:`attach`."""
        copied = self._call(
            _OPEN_TREE,
            _AT_FDCWD,
            os.fsencode(path),
            _OPEN_TREE_CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if recursive else 0),
        )
        if read_only:
            self.make_read_only(copied, recursive=recursive)
        return copied

    def make_read_only(self, tree: int, *, recursive: bool = False) -> None:
        """Make a tree read-only, also if it is attached; with ``recursive`` the mounts below it too."""
        attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY, 0, 0, 0)
        flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
        self._call(_MOUNT_SETATTR, tree, b"", flags, attributes, ctypes.sizeof(attributes))

    def tree_of(self, descriptor: int) -> int:
        """Return a descriptor of a copy of the mount tree at an open directory or file."""
        return self._call(_OPEN_TREE, descriptor, b"", _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH)

    def attach(self, tree: int, path: str) -> None:
        """Attach a tree at ``path``."""
        flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_SYMLINKS
        self._call(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(path), flags)

    def _mount(self, source: str, target: str, kind: str, flags: int, data: str = "") -> None:
        words = [os.fsencode(word) for word in (source, target, kind)]
        if self._libc.mount(*words, ctypes.c_ulong(flags), data.encode()):
            self._fail(target)

    def _call(self, number: int, *arguments: object) -> int:
        # Integers are passed as long, because a C int would leave the upper half of a register undefined.
        passed = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
        result: int = self._libc.syscall(ctypes.c_long(number), *passed)
        if result < 0:
            self._fail(f"system call {number}")
        return result

    @staticmethod
    def _fail(what: str) -> None:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what)
