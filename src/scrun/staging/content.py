"""Checksums of files, which decide where a file is another than one that was carried but looks the same."""

from __future__ import annotations

import hashlib
import os
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    # The checksums of these files, by name; those that can't be read are left out.
    Checksums = Callable[[Sequence[bytes]], Mapping[bytes, bytes]]

SIZE = 32  # bytes of a checksum
_CHUNK = 1 << 20  # bytes
_LABEL = "security.selinux"  # another one in each container, and nothing of the content


class Hashing:
    """Takes the checksums of files and directories below ``root``, in threads of its own; ``found`` has them.

    A checksum is of the content and of the extended attributes that are carried: ``xattrs`` is "*" or "user.*".
    """

    def __init__(self, root: str, names: Sequence[bytes], xattrs: str, threads: int = 1) -> None:
        self.found: dict[bytes, bytes] = {}
        self._xattrs = xattrs.removesuffix("*")
        self._stopped = False
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._threads = [
            threading.Thread(target=self._run, args=(names[index::threads],), daemon=True) for index in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def has_ended(self) -> bool:
        """Whether all have been looked at."""
        return not any(thread.is_alive() for thread in self._threads)

    def wait(self) -> None:
        """Until all have been looked at."""
        self._end()

    def end(self) -> None:
        """End it, done or not."""
        self._stopped = True
        self._end()

    def _end(self) -> None:
        for thread in self._threads:
            thread.join()
        if self._root >= 0:
            os.close(self._root)
        self._root = -1

    def _run(self, names: Sequence[bytes]) -> None:
        buffer = memoryview(bytearray(_CHUNK))
        for name in names:
            if self._stopped:
                return
            try:
                self.found[name] = self._checksum(name, buffer)
            except OSError:
                continue  # it goes along each time, and tar says what is wrong with it

    def _checksum(self, name: bytes, buffer: memoryview) -> bytes:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name or b".", flags, dir_fd=self._root)
        try:
            checksum = hashlib.sha256()
            for key in sorted(os.listxattr(descriptor)):
                if key.startswith(self._xattrs) and not key.startswith("user.overlay.") and key != _LABEL:
                    value = os.getxattr(descriptor, key)
                    checksum.update(b"%s\0%d\0%s" % (os.fsencode(key), len(value), value))
            checksum.update(b"\0")
            try:
                while (length := os.readv(descriptor, [buffer])) and not self._stopped:
                    checksum.update(buffer[:length])
            except IsADirectoryError:
                pass
            return checksum.digest()
        finally:
            os.close(descriptor)
