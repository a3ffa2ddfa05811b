"""Directories and files as tar archives, made by find and tar."""

from __future__ import annotations

import os

from scrun.errors import StagingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import NamedTuple

    from scrun.staging.children import Child, Children
    from scrun.staging.model import Log, Part
else:
    from scrun.record import NamedTuple

# pax, for times below the second, long names and extended attributes; without the two times that nobody restores.
_TAR = [
    "tar",
    "--create",
    "--file=-",
    "--format=posix",
    "--pax-option=delete=atime,delete=ctime",
    "--null",
    "--no-recursion",
    "--files-from=-",
    "--numeric-owner",
    "--sparse",
    "--xattrs",
    "--xattrs-exclude=user.overlay.*",
    "--ignore-failed-read",
    "--warning=no-file-ignored",
]


_LOOK_AGAIN = 0.5  # seconds after which check is called although nothing has happened


class Archiver(NamedTuple):
    """Writes archives to ``output``, one after the other; ``check`` is called while waiting, and may raise."""

    children: Children
    output: int
    check: Callable[[], None]
    log: Log
    xattrs: str
    devices: bool  # whether the receiver can make device nodes

    def add(self, part: Part, *, recursive: bool, only: Sequence[bytes] | None = None) -> None:
        """Add what is at ``part.source`` under the name ``part.name``, with its mounts if ``recursive``.

        Of a directory it may be ``only`` these names in it, b"" being itself.

        Files that we may not read, sockets and, unless the receiver is root, devices are left out, with a note.

        Raises:
            StagingError: it can't be read otherwise.
        """
        if only is not None:
            with _Memory(b"".join(b"./" + name + b"\0" if name else b".\0" for name in only)) as names:
                self._tar(part, f"--transform=s,^\\.,{part.name},S", part.source, ["cat"], names)
        elif part.is_directory:
            # S: what symbolic links point to stays as it is. Hard links are to names in the archive.
            self._tar(part, f"--transform=s,^\\.,{part.name},S", part.source, self._find(recursive))
        else:
            name = b"./" + os.fsencode(os.path.basename(part.source)) + b"\0"
            with _Memory(name) as names:
                self._tar(part, f"--transform=s,.*,{part.name},S", os.path.dirname(part.source), ["cat"], names)

    def add_files(self, files: Mapping[str, bytes]) -> None:
        """Add files of ours: readable for a container's users, in a directory that is our user's alone."""
        import tarfile

        data = bytearray()
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            data += info.tobuf(tarfile.PAX_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE)
        data += bytes(2 * tarfile.BLOCKSIZE)
        with _Memory(bytes(data)) as archive:
            child = self.children.run(["cat"], stdin=archive.fileno(), stdout=self.output)
            self._wait(child)
            child.process.wait()

    def _find(self, recursive: bool) -> list[str]:
        note = ["-fprintf", "/dev/stderr", "left out, a socket or device: %p\n"]
        top = ["find", ".", *([] if recursive else ["-xdev"])]
        return [*top, "(", *left_out(devices=self.devices), ")", *note, "-o", "-print0"]

    def _tar(self, part: Part, transform: str, directory: str, names: list[str], stdin: _Memory | None = None) -> None:
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        try:
            import subprocess

            given = subprocess.DEVNULL if stdin is None else stdin.fileno()
            finder = self.children.run(names, stdin=given, stdout=write_end, cwd=directory)
            argv = [*_TAR, f"--xattrs-include={self.xattrs}", transform]
            tar = self.children.run(argv, stdin=read_end, stdout=self.output, cwd=directory)
        except OSError as error:
            raise StagingError(f"{part.source}: can't be read: {error.strerror}") from error
        finally:
            os.close(read_end)
            os.close(write_end)
        self._wait(finder, tar)
        status = tar.process.wait()
        self.check()
        # 1: a file changed while it was read, which is nothing unusual in a volume.
        if finder.process.wait() not in (0, 1) or status not in (0, 1):
            raise StagingError(f"{part.source}: can't be carried: {finder.words() or tar.words() or f'tar: {status}'}")
        notes = [line for child in (finder, tar) for line in child.err.decode("utf-8", "backslashreplace").splitlines()]
        if notes:
            self.log("info", f"{part.source}: not all could be carried: {'; '.join(notes[:3])} ({len(notes)} in all)")

    def _wait(self, *children: Child) -> None:
        def done() -> bool:
            self.check()
            return all(self.children.has_closed(child) for child in children)

        while not self.children.wait(done, seconds=_LOOK_AGAIN):
            pass


def left_out(*, devices: bool) -> list[str]:
    """find's expression for what is not archived."""
    return ["-type", "s"] if devices else ["-type", "s", "-o", "-type", "b", "-o", "-type", "c"]


class _Memory:
    """Bytes to be some process's stdin."""

    def __init__(self, data: bytes) -> None:
        self._descriptor = os.memfd_create("scrun")
        with open(self._descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(self._descriptor, 0, os.SEEK_SET)

    def fileno(self) -> int:
        return self._descriptor

    def __enter__(self) -> _Memory:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
