"""Write directories and files as tar archives, by find and tar, or in Python where there are few small files."""

from __future__ import annotations

import fcntl
import os

from scrun.errors import StagingError
from scrun.staging import headers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scrun.staging.child import Child
    from scrun.staging.children import Children
    from scrun.staging.model import LogCall, Part

# The pax format has times below a second, long names and extended attributes. atime and ctime are never restored.
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
    "--ignore-failed-read",
    "--warning=no-file-ignored",
]


# overlayfs's own attributes have no meaning outside of a layer; within one, the mark of an opaque directory has.
_MARKS = [
    [f"--xattrs-exclude={prefix}.overlay.{name}" for prefix in ("user", "trusted") for name in names]
    for names in (("*",), ("[!o]*", "or*"))
]
_LOOK_AGAIN = 0.5  # seconds between calls of check while nothing happens
_FEW = 64  # files
_LITTLE = 1 << 15  # bytes


class Archiver:
    """A writer of archives to a pipe, one after another.

    Args:
        children: runs find and tar.
        output: the pipe's descriptor.
        check: is called while the archiver waits, and may raise an error.
        log: is called with a level and a message.
        xattrs: which extended attributes are carried, "*" or "user.*".
        devices: whether the receiver can make device nodes.
        wide: whether tar writes records of 256 KB instead of 10 KB, which wake the pipe's reader more often.
    """

    def __init__(
        self,
        children: Children,
        output: int,
        check: Callable[[], None],
        log: LogCall,
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
        self._devices = devices
        self._records = ["--blocking-factor=512"] if wide else []
        self._little = b""  # archive members that were made in Python; add_files writes them

    def add(
        self, part: Part, *, only: Sequence[bytes] | None = None, held: int | None = None, layer: bool = False
    ) -> bool:
        """Add ``part.source`` under the name ``part.name``, with mounts below it if the part is recursive.

        Files that can't be read and sockets are left out, and devices unless the receiver can make them; the log
        names them.

        Args:
            part: the directory or file.
            only: the names in the directory to add, b"" for the directory itself; None for all.
            held: a descriptor of the source, which is read instead of the path.
            layer: whether the source is an overlay's layer, whose whiteouts and opaque directories stay what they are.

        Returns:
            Whether nothing was left out.

        Raises:
            StagingError: the source can't be read.
        """
        place = part.source if held is None else f"/proc/{os.getpid()}/fd/{held}"
        if self._add_little(part, place, only, layer=layer):
            return True
        marks = _MARKS[layer]
        if only is not None:
            with _Memory(b"".join(b"./" + name + b"\0" if name else b".\0" for name in only)) as names:
                return self._tar(part, f"--transform=s,^\\.,{part.name},S", part.source, ["cat"], names, marks)
        elif part.is_directory:
            # S: targets of symbolic links stay as they are. Targets of hard links are names in the archive.
            find = self._find(part.recursive)
            return self._tar(part, f"--transform=s,^\\.,{part.name},S", place, find, None, marks)
        else:
            follow = [*marks, *(["--dereference"] if held is not None else [])]  # /proc/PID/fd/N is a link
            with _Memory(b"./" + os.fsencode(os.path.basename(place)) + b"\0") as names:
                return self._tar(
                    part, f"--transform=s,.*,{part.name},S", os.path.dirname(place), ["cat"], names, follow
                )

    def add_opaque(self, part: Part, names: Sequence[bytes]) -> None:
        """Add directories of a layer that hide what the layers below have; their content is added before.

        Raises:
            StagingError: a directory can't be read.
        """
        for name in names:
            path = os.path.join(os.fsencode(part.source), name)
            try:
                self._little += headers.opaque_directory(path, b"%s/%s" % (part.name.encode(), name), self._xattrs)
            except OSError as error:
                raise StagingError(f"can't read {os.fsdecode(path)}: {error.strerror}") from error

    def add_files(self, files: Mapping[str, bytes]) -> None:
        """Add scrun's own files by name, and end the archive."""
        data = self._little + b"".join(headers.file(name, content) for name, content in files.items()) + headers.END
        self._little = b""
        with _Memory(data) as archive:
            pour(self._children, archive.fileno(), len(data), self._output, self._check)

    def _add_little(self, part: Part, place: str, only: Sequence[bytes] | None, *, layer: bool) -> bool:
        """Make the archive members in Python if the part is a small file or a few small names; False otherwise."""
        if (only is None and part.is_directory) or (only and len(only) > _FEW):
            return False
        source, name = os.fsencode(place), part.name.encode()
        members, follow = b"", place != part.source
        for one in only or (b"",):
            path, called = (os.path.join(source, one), b"%s/%s" % (name, one)) if one else (source, name)
            if (member := headers.member(path, called, self._xattrs, follow=follow, layer=layer)) is None:
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
    ) -> bool:
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        try:
            import subprocess

            names_from = subprocess.DEVNULL if stdin is None else stdin.fileno()
            finder = self._children.run(names, stdin=names_from, stdout=write_end, cwd=directory)
            argv = [*_TAR, *options, *self._records, f"--xattrs-include={self._xattrs}", transform]
            tar = self._children.run(argv, stdin=read_end, stdout=self._output, cwd=directory)
        except OSError as error:
            raise StagingError(f"can't read {part.source}: {error.strerror}") from error
        finally:
            os.close(read_end)
            os.close(write_end)
        _wait(self._children, self._check, finder, tar)
        status = tar.process.wait()
        self._check()
        # Status 1: a file changed while it was read, which is usual in a volume.
        if finder.process.wait() not in (0, 1) or status not in (0, 1):
            raise StagingError(f"{part.source}: can't be carried: {finder.words() or tar.words() or f'tar: {status}'}")
        notes = [line for child in (finder, tar) for line in child.err.decode("utf-8", "backslashreplace").splitlines()]
        if notes:
            self._log("info", f"{part.source}: not all could be carried: {'; '.join(notes[:3])} ({len(notes)} in all)")
        return not notes


def pour(children: Children, source: int, size: int, output: int, check: Callable[[], None]) -> None:
    """Write a file of ``size`` bytes to a pipe or a file, by cat where a pipe hasn't room for all of them."""
    try:
        room = fcntl.fcntl(output, fcntl.F_GETPIPE_SZ) * 3 // 4  # a few orders at most are in it
    except OSError:
        room = size  # it is a file
    if size > room:
        child = children.run(["cat"], stdin=source, stdout=output)
        _wait(children, check, child)
        child.process.wait()
        return
    offset = 0
    try:
        while offset < size:
            offset += os.sendfile(output, source, offset, size - offset)
    except BrokenPipeError:
        check()  # the reader has ended; check() raises the reason


def _wait(children: Children, check: Callable[[], None], *those: Child) -> None:
    def done() -> bool:
        check()
        return all(children.has_closed(child) for child in those)

    while not children.wait(done, seconds=_LOOK_AGAIN):
        pass


def left_out(*, devices: bool) -> list[str]:
    """find's expression for the kinds of files that are not archived."""
    return ["-type", "s"] if devices else ["-type", "s", "-o", "-type", "b", "-o", "-type", "c"]


class _Memory:
    """Bytes as a file in memory, for a process's stdin."""

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
