"""Directories and files as tar archives: made by find and tar, or here where there is little of it."""

from __future__ import annotations

import fcntl
import os

from scrun.errors import StagingError
from scrun.staging import headers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scrun.staging.children import Child, Children
    from scrun.staging.model import Log, Part

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
_FEW = 64  # files
_LITTLE = 1 << 15  # bytes


class Archiver:
    """Writes archives to ``output``, a pipe, one after the other; ``check`` is called while waiting, and may raise."""

    def __init__(
        self,
        children: Children,
        output: int,
        check: Callable[[], None],
        log: Log,
        *,
        xattrs: str,
        devices: bool,
        wide: bool,
    ) -> None:
        self._children = children
        self._output = output
        self._check = check
        self._log = log
        self._xattrs = xattrs
        self._devices = devices  # whether the receiver can make device nodes
        self._records = ["--blocking-factor=512"] if wide else []  # 256 KB, not 10, which would wake its reader often
        self._little = b""  # what was made here, and goes along with our own files

    def add(self, part: Part, *, only: Sequence[bytes] | None = None, held: int | None = None) -> None:
        """Add what is at ``part.source`` under the name ``part.name``, with its mounts if it is recursive.

        Of a directory it may be ``only`` these names in it, b"" being itself. ``held`` is a descriptor of what is
        there: it is read by that, whatever the path leads to by now.

        Files that we may not read, sockets and, unless the receiver is root, devices are left out, with a note.

        Raises:
            StagingError: it can't be read otherwise.
        """
        place = part.source if held is None else f"/proc/{os.getpid()}/fd/{held}"
        if self._add_little(part, place, only):
            return
        if only is not None:
            with _Memory(b"".join(b"./" + name + b"\0" if name else b".\0" for name in only)) as names:
                self._tar(part, f"--transform=s,^\\.,{part.name},S", part.source, ["cat"], names)
        elif part.is_directory:
            # S: what symbolic links point to stays as it is. Hard links are to names in the archive.
            self._tar(part, f"--transform=s,^\\.,{part.name},S", place, self._find(part.recursive))
        else:
            follow = ["--dereference"] if held is not None else []  # such a path is a link
            with _Memory(b"./" + os.fsencode(os.path.basename(place)) + b"\0") as names:
                self._tar(part, f"--transform=s,.*,{part.name},S", os.path.dirname(place), ["cat"], names, follow)

    def add_files(self, files: Mapping[str, bytes]) -> None:
        """Add files of ours, and end the archive."""
        data = self._little + b"".join(headers.file(name, content) for name, content in files.items()) + headers.END
        self._little = b""
        if len(data) < fcntl.fcntl(self._output, fcntl.F_GETPIPE_SZ) * 3 // 4:  # it holds a few orders at most
            try:
                os.write(self._output, data)
            except BrokenPipeError:
                self._check()  # its reader has ended, and will be asked why
            return
        with _Memory(data) as archive:
            child = self._children.run(["cat"], stdin=archive.fileno(), stdout=self._output)
            self._wait(child)
            child.process.wait()

    def _add_little(self, part: Part, place: str, only: Sequence[bytes] | None) -> bool:
        """Make it here, if it is a file or these few names, and small; else it is tar's."""
        if (only is None and part.is_directory) or (only and len(only) > _FEW):
            return False
        source, name = os.fsencode(place), part.name.encode()
        members = b""
        for one in only or (b"",):
            path, called = (os.path.join(source, one), b"%s/%s" % (name, one)) if one else (source, name)
            if (member := headers.of(path, called, self._xattrs, follow=place != part.source)) is None:
                return False
            members += member
        if len(self._little) + len(members) > _LITTLE:
            return False
        self._little += members
        return True

    def _find(self, recursive: bool) -> list[str]:
        note = ["-fprintf", "/dev/stderr", "left out, a socket or device: %p\n"]
        top = ["find", ".", *([] if recursive else ["-xdev"])]
        return [*top, "(", *left_out(devices=self._devices), ")", *note, "-o", "-print0"]

    def _tar(
        self,
        part: Part,
        transform: str,
        directory: str,
        names: list[str],
        stdin: _Memory | None = None,
        options: Sequence[str] = (),
    ) -> None:
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        try:
            import subprocess

            given = subprocess.DEVNULL if stdin is None else stdin.fileno()
            finder = self._children.run(names, stdin=given, stdout=write_end, cwd=directory)
            argv = [*_TAR, *options, *self._records, f"--xattrs-include={self._xattrs}", transform]
            tar = self._children.run(argv, stdin=read_end, stdout=self._output, cwd=directory)
        except OSError as error:
            raise StagingError(f"{part.source}: can't be read: {error.strerror}") from error
        finally:
            os.close(read_end)
            os.close(write_end)
        self._wait(finder, tar)
        status = tar.process.wait()
        self._check()
        # 1: a file changed while it was read, which is nothing unusual in a volume.
        if finder.process.wait() not in (0, 1) or status not in (0, 1):
            raise StagingError(f"{part.source}: can't be carried: {finder.words() or tar.words() or f'tar: {status}'}")
        notes = [line for child in (finder, tar) for line in child.err.decode("utf-8", "backslashreplace").splitlines()]
        if notes:
            self._log("info", f"{part.source}: not all could be carried: {'; '.join(notes[:3])} ({len(notes)} in all)")

    def _wait(self, *children: Child) -> None:
        def done() -> bool:
            self._check()
            return all(self._children.has_closed(child) for child in children)

        while not self._children.wait(done, seconds=_LOOK_AGAIN):
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
