"""Apply the archive of a node's changes, each entry to the directory of the login host that it belongs to."""

from __future__ import annotations

import binascii
import contextlib
import os
import stat

from scrun.errors import StagingError
from scrun.staging import entries, in_place, trees
from scrun.staging.apply import FULL, TargetDirectory
from scrun.staging.ownership import acting_as, new_owner, volume_owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    import tarfile
    from collections.abc import Callable, Iterator
    from typing import IO

    from scrun.staging.model import ContainerFiles, LogCall, Part

_BUFFER = 1 << 18  # bytes
_MOST_GONE = 1 << 28  # bytes of removed names, which are in memory as a whole


class BrokenArchive(StagingError):
    """The archive ended too early, or isn't one."""


class NodeChanges:
    """The changes of one node, and the directories and files that they are applied to.

    Args:
        container: the container.
        parts: the writable parts; an entry's name in the archive begins with a part's name.
        log: is called with a level and a message.
        taken: names that came from earlier nodes, and stay as they are; this node's names are added. Several nodes may
            make files in the same directory.
        root: a descriptor of the root filesystem; None if it doesn't exist any more; -1 to open it by its path.
        untimed: see :class:`scrun.staging.apply.TargetDirectory`, of the root filesystem.
        leave_alone: see :func:`scrun.staging.bring_back.bring_back`.
    """

    def __init__(
        self,
        container: ContainerFiles,
        parts: list[Part],
        log: LogCall,
        taken: set[bytes] | None = None,
        *,
        root: int | None = -1,
        untimed: bytes | None = None,
        leave_alone: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._untimed = untimed
        self._taken = set() if taken is None else taken
        self._root, self._leave_alone = root, leave_alone
        self._made: set[bytes] = set()
        self._container = container
        self._parts = {os.fsencode(part.name): part for part in parts}
        self._trees: dict[bytes, TargetDirectory] = {}
        self._log = log
        self._failed: list[str] = []
        self._conflicts: list[str] = []  # names whose content comes from an earlier node; no failure

    def __enter__(self) -> NodeChanges:
        return self

    def __exit__(self, *_: object) -> None:
        for tree in self._trees.values():
            tree.__exit__()

    def apply(self, stream: IO[bytes], is_whole: Callable[[], bool] = lambda: True) -> None:
        """Apply the whole archive.

        Args:
            stream: the archive.
            is_whole: is called when it has been read; returns whether the node could put all changes into it.

        Raises:
            BrokenArchive: the archive is not complete.
            StagingError: some entries failed; all other entries are applied.
            OSError: the disk is full; it has the name of the file.
        """
        import tarfile

        from scrun.staging.members import Member

        gone: list[bytes] = []
        is_complete = False
        try:
            # A stream's read() returns what there is, so a large buffer waits for no more than tarfile needs.
            with tarfile.open(
                fileobj=stream,
                mode="r|",
                bufsize=_BUFFER,
                tarinfo=Member,
                encoding="utf-8",
                errors="surrogateescape",
            ) as archive:
                for info in archive:
                    archive.members = []  # type: ignore[attr-defined]  # else tarfile keeps every entry in memory
                    content = archive.extractfile(info) if info.isreg() else None
                    if info.name == "end":
                        is_complete = True
                        break
                    if info.name == "gone" and content is not None:
                        gone = _names(content)
                    else:
                        with self._naming(info):
                            self._apply(info, content)
        except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
            raise BrokenArchive(f"the archive is broken: {error}") from error
        if not (is_complete and is_whole()):
            raise BrokenArchive("the archive was cut short")
        self._finish(gone)

    @contextlib.contextmanager
    def _naming(self, info: tarfile.TarInfo) -> Iterator[None]:
        """Name the file that this host has no room for, for whoever reads the error."""
        try:
            yield
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise OSError(error.errno, error.strerror, _shown(*self._locate(_encode(info.name)))) from error

    def _apply(self, info: tarfile.TarInfo, content: IO[bytes] | None) -> None:
        part, name = self._locate(_encode(info.name))
        link = b""
        if info.islnk():
            owner, link = self._locate(_encode(info.linkname))
            if owner != part:
                raise StagingError(f"a hard link from {info.name!r} to {info.linkname!r}")
        full = _encode(info.name)
        if not info.isdir():
            self._made.add(full)
        with self._identity(part):
            if self._is_moot(part):
                return
            if self._is_missing(part):
                missing = f"{part.source!r}: is not there any more"
                self._failed += [] if missing in self._failed else [missing]
                return
            if full in self._taken:
                if info.isdir() or not self._is_there(part, name, info, content):
                    self._conflicts.append(f"{_shown(part, name)!r}: another node has changed it too")
            elif part.is_directory:
                self._tree(part).apply(name, info, link, content)
            elif name or content is None:
                self._failed.append(f"{part.source!r}: is not a file any more")
            else:
                self._overwrite(part, info, content)

    def _finish(self, gone: list[bytes]) -> None:
        by_part: dict[bytes, list[bytes]] = {}
        for full in (full for full in gone if full not in self._taken):
            part, name = self._locate(full)
            by_part.setdefault(os.fsencode(part.name), []).append(name)
        for key, part in self._parts.items():
            if not part.is_directory or self._is_missing(part) or self._is_moot(part):
                continue
            names = by_part.get(key, [])
            with self._identity(part):
                tree = self._tree(part)
                if b"" in names:
                    # A container can't remove its own directory, because it runs inside.
                    self._failed.append(f"{part.source!r}: is gone on the node")
                else:
                    # Files of another node in a directory that this node made anew.
                    spared = {full[len(key) + 1 :] for full in self._taken if full.startswith(key + b"/")}
                    tree.delete(names, spared)
                tree.finish()
            self._failed += tree.failed
        self._taken |= self._made
        if self._conflicts:
            self._log("error", f"container {self._container.id}: {_some(self._conflicts)}")
        if self._failed:
            raise StagingError(_some(self._failed))

    def _is_there(self, part: Part, name: bytes, info: tarfile.TarInfo, content: IO[bytes] | None) -> bool:
        if part.is_directory:
            return self._tree(part).has(name, info, content)
        directory, last = os.path.split(os.fsencode(part.source))
        parent = trees.open_directory(os.fsdecode(directory))
        try:
            return entries.is_same(last, parent, info, content)
        finally:
            os.close(parent)

    def _overwrite(self, part: Part, info: tarfile.TarInfo, content: IO[bytes]) -> None:
        try:
            descriptor = in_place.open_existing(part.source, (part.inode, part.fsid))
            try:
                before = os.fstat(descriptor).st_size
                in_place.overwrite(
                    descriptor,
                    info.size,
                    lambda file: entries.write_content(content, info, file, before=before),
                    data=entries.data_of(info),
                )
                if os.fstat(descriptor).st_mode & 0o7777 != info.mode & 0o7777:
                    with entries.as_far_as_it_goes():
                        os.fchmod(descriptor, stat.S_IMODE(info.mode))
            finally:
                os.close(descriptor)
        except PermissionError as error:
            self._failed.append(f"{part.source!r}: {error.strerror}")

    def _locate(self, full: bytes) -> tuple[Part, bytes]:
        """The part that a name belongs to, and the name below that part."""
        for key, part in self._parts.items():
            if full == key or full.startswith(key + b"/"):
                return part, full[len(key) + 1 :]
        raise StagingError(f"the archive is broken: {os.fsdecode(full)!r} was never carried")

    def _is_moot(self, part: Part) -> bool:
        """Whether the part was removed with the container, as docker rm -v removes anonymous volumes."""
        was_deleted = part.name != "rootfs" and os.fsencode(part.name) not in self._trees and self._leave_alone()
        return bool(was_deleted) and not os.path.lexists(part.source)

    def _is_missing(self, part: Part) -> bool:
        return self._root is None and part.name == "rootfs"

    def _tree(self, part: Part) -> TargetDirectory:
        key = os.fsencode(part.name)
        if key not in self._trees:
            of = self._container
            temporary = b".scrun-%d-%08x" % (of.job_id, binascii.crc32(of.id.encode()))
            # A mount's source has no symbolic links; a link in it would be somebody's attack.
            source = os.path.realpath(part.source) if part.name == "rootfs" else part.source
            owner = new_owner(of) if part.name == "rootfs" else volume_owner(of, source)
            self._trees[key] = TargetDirectory(
                source,
                owner,
                (part.inode, part.fsid),
                recursive=part.recursive,
                descriptor=self._root if part.name == "rootfs" and self._root != -1 else None,
                leave_alone=self._leave_alone,
                overlay=part.name == "rootfs",
                untimed=self._untimed if part.name == "rootfs" else None,
                temporary=temporary,
            )
        return self._trees[key]

    def _identity(self, part: Part) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if part.name == "rootfs" else acting_as(self._container)


def _names(content: IO[bytes]) -> list[bytes]:
    data = content.read(_MOST_GONE + 1)
    if len(data) > _MOST_GONE:
        raise StagingError(f"too many files were removed: their names are more than {_MOST_GONE >> 20} MiB")
    return data.split(b"\0")[:-1]


def _some(changes: list[str]) -> str:
    return f"{len(changes)} changes not brought back: {'; '.join(changes[:3])}"


def _shown(part: Part, name: bytes) -> str:
    return os.path.join(part.source, os.fsdecode(name)) if name else part.source


def _encode(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape").rstrip(b"/")
