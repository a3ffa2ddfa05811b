"""Checksums of files, which decide whether a file that looks like a carried file has the same content."""

from __future__ import annotations

import hashlib
import os
import threading
import time

from scrun.staging import in_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    # Returns the checksums of files by name, without files that can't be read.
    Checksums = Callable[[Sequence[bytes]], Mapping[bytes, bytes]]

SIZE = 32  # bytes of a checksum
_CHUNK = 1 << 20  # bytes
_LABEL = "security.selinux"  # differs in each container, and isn't content


class Hashing:
    """Threads that compute ``checksums`` of files and directories below ``root``.

    A checksum covers the content and the carried extended attributes; ``xattrs`` is "*" or "user.*".
    """

    def __init__(self, root: str, names: Sequence[bytes], xattrs: str, threads: int = 1) -> None:
        self.checksums: dict[bytes, bytes] = {}
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
        """Whether all files have been read."""
        return not any(thread.is_alive() for thread in self._threads)

    def wait(self, seconds: float) -> None:
        """Wait until all files have been read, at most so long; then stop reading."""
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self.end()

    def end(self) -> None:
        """Stop reading, complete or not."""
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
                checksum = self._checksum(name, buffer)
            except OSError:
                continue  # the file is carried each time, and tar tells the error
            if not self._stopped:  # else it may be that of a part
                self.checksums[name] = checksum

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
                position = 0
                for start, end in in_place.data_in(descriptor, os.fstat(descriptor).st_size):
                    if start != position:  # a hole may have exabytes, and reading it would take for ever
                        checksum.update(b"hole to %d\0" % start)
                    position = start
                    while position < end and not self._stopped:
                        length = os.preadv(descriptor, [buffer[: end - position]], position)
                        if not length:
                            break
                        checksum.update(buffer[:length])
                        position += length
                    position = end
            except IsADirectoryError:
                pass
            return checksum.digest()
        finally:
            os.close(descriptor)
