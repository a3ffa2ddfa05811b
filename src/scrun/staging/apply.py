"""Apply an untrusted archive of changes to a directory of the login host.

The archive comes from a node, where the container's user controls its content: a name may contain ``..``, and an
entry's directory may be a symbolic link on this host. So each entry is reached from the directory's descriptor, one
name at a time, without following links. It is made under a name of scrun's and then renamed. tar would follow links.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from scrun.staging import entries, trees

TYPE_CHECKING = False
if TYPE_CHECKING:
    import tarfile
    from collections.abc import Callable, Collection, Iterator
    from typing import IO

FULL = (errno.ENOSPC, errno.EDQUOT)
# A directory to be removed may have become a link, or hold files that were never carried.
_KEPT = (errno.ELOOP, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)


class TargetDirectory:
    """A directory that changes are applied to.

    Every method raises OSError when the disk is full or the quota is reached. Any other error is added to ``failed``,
    and the work goes on. Names are relative to the directory; b"" is the directory itself.

    Args:
        root: the directory's path.
        new_owner: the owner (uid, gid) of new files; None to keep the archive's.
        known: the identity that the directory must have (:func:`scrun.staging.trees.identity`); (0, 0) for any.
        recursive: whether mounts below the directory are changed too. A container without them must not change them.
        descriptor: an open descriptor of the directory, which is used instead of its path.
        leave_alone: returns the time (time.monotonic) before which nothing is made. If the directory has been removed
            by then, nothing is made at all.
        overlay: whether the archive is of an overlay's upper directory, so that a directory in it may be opaque.
        untimed: a directory whose new time alone is no change, because Slurm has made others in it that are gone again.
        temporary: the name of a file until it is complete. The name is always the same, so that repeating the work
            after a kill leaves no such file; b"" for a random name.
    """

    def __init__(
        self,
        root: str,
        new_owner: tuple[int, int] | None,
        known: tuple[int, int] = (0, 0),
        *,
        recursive: bool = True,
        descriptor: int | None = None,
        leave_alone: Callable[[], float] = lambda: 0.0,
        overlay: bool = False,
        untimed: bytes | None = None,
        temporary: bytes = b"",
    ) -> None:
        self.root = root
        self._untimed, self._is_touched = untimed, False
        self._temporary, self._overlay = temporary, overlay
        self.failed: list[str] = []
        self._new_owner = new_owner
        self._leave_alone, self._left_alone_until, self._is_there = leave_alone, 0.0, True
        if descriptor is None:
            self._descriptor = trees.open_again(root, os.O_RDONLY | os.O_DIRECTORY, known)
        else:
            self._descriptor = os.dup(descriptor)
        self._mount = None if recursive else trees.mount_id(self._descriptor)
        self._parent: tuple[list[bytes], int] | None = None  # the directory of the last entry, open
        self._directories: dict[bytes, tuple[int, int]] = {}  # mode and mtime, which are set last
        self._made_anew: set[bytes] = set()  # directories that hold nothing but the archive's entries in them,
        self._in_them: set[bytes] = set()  # and these entries

    def __enter__(self) -> TargetDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self._forget_parent()
        os.close(self._descriptor)

    def apply(self, name: bytes, info: tarfile.TarInfo, link: bytes, content: IO[bytes] | None) -> None:
        """Make one entry of the archive; ``link`` is the target of a hard link."""
        if not self._may_be_changed():
            return
        self._note(name)
        if self._made_anew and any(above in self._made_anew for above in _above(name)):
            self._in_them.add(name)
        with self._noting(name):
            if info.isdir():
                self._apply_directory(name, info)
            elif name:
                self._apply_other(name, info, link, content)

    def has(self, name: bytes, info: tarfile.TarInfo, content: IO[bytes] | None) -> bool:
        """Whether the directory already has the entry as the archive has it."""
        try:
            parent, last = self._reach(name)
        except OSError:
            return False
        return entries.is_same(last, parent, info, content)

    def delete(self, names: list[bytes], spared: Collection[bytes] = ()) -> None:
        """Remove ``names``, and the old content of directories that were made anew, except ``spared``.

        A directory is removed only when it is empty.
        """
        if not self._may_be_changed():
            return
        gone = {*names, *self._replaced()}.difference(spared)
        for name in sorted(gone, reverse=True):  # a directory's content before the directory
            self._note(name)
            with self._noting(name, _KEPT):
                parent, last = self._reach(name)
                if stat.S_ISDIR(os.stat(last, dir_fd=parent, follow_symlinks=False).st_mode):
                    os.rmdir(last, dir_fd=parent)
                else:
                    os.unlink(last, dir_fd=parent)

    def finish(self) -> None:
        """Set modes and times of directories, the innermost first."""
        if not self._may_be_changed():
            return
        for name, (mode, mtime) in sorted(self._directories.items(), reverse=True):
            with self._noting(name, (errno.ENOENT, errno.EXDEV)):
                descriptor = self._walk(_split(name))
                try:
                    if self._is_unchanged(name, mode, descriptor):
                        continue
                    with entries.as_far_as_it_goes():
                        os.fchmod(descriptor, mode)
                        os.utime(descriptor, ns=(mtime, mtime))
                finally:
                    os.close(descriptor)

    def _note(self, name: bytes) -> None:
        if name and os.path.dirname(name) == self._untimed:
            self._is_touched = True

    def _is_unchanged(self, name: bytes, mode: int, descriptor: int) -> bool:
        return name == self._untimed and not self._is_touched and stat.S_IMODE(os.fstat(descriptor).st_mode) == mode

    def _may_be_changed(self) -> bool:
        """Whether the directory still exists; wait first until nobody can be about to remove it."""
        until = self._leave_alone()
        if until != self._left_alone_until:
            import time

            time.sleep(max(0.0, until - time.monotonic()))
            self._left_alone_until, self._is_there = until, trees.is_there(self._descriptor)
        return self._is_there

    def _replaced(self) -> Iterator[bytes]:
        """Yield old names in directories that the container made anew; sockets and devices are never carried."""
        for top in self._made_anew:
            for name, mode in self._below(top):
                if name not in self._in_them and stat.S_IFMT(mode) not in (stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK):
                    yield name

    def _below(self, name: bytes) -> Iterator[tuple[bytes, int]]:
        with contextlib.suppress(OSError):
            descriptor = self._walk(_split(name))
            try:
                children = [
                    (os.fsencode(entry), _status(os.fsencode(entry), descriptor)) for entry in os.listdir(descriptor)
                ]
            finally:
                os.close(descriptor)
            for entry, status in children:
                if status is not None:
                    yield name + b"/" + entry, status.st_mode
                    if stat.S_ISDIR(status.st_mode):
                        yield from self._below(name + b"/" + entry)

    def _apply_directory(self, name: bytes, info: tarfile.TarInfo) -> None:
        if name:
            parent, last = self._reach(name)
            old = _status(last, parent)
            if old is None or not stat.S_ISDIR(old.st_mode):
                if old is not None:
                    os.unlink(last, dir_fd=parent)
                os.mkdir(last, 0o700, dir_fd=parent)
                entries.give(last, parent, entries.owner_of(info, None, self._new_owner))
        if name and self._overlay and entries.is_opaque(info):
            self._made_anew.add(name)
        self._directories[name] = (stat.S_IMODE(info.mode), entries.mtime_ns(info))

    def _apply_other(self, name: bytes, info: tarfile.TarInfo, link: bytes, content: IO[bytes] | None) -> None:
        parent, last = self._reach(name)
        old = _status(last, parent)
        made = self._free_name(parent)
        try:
            if info.islnk():
                self._link(link, made, parent)
            else:
                entries.make_entry(made, parent, info, content, entries.owner_of(info, old, self._new_owner))
            if not self._may_be_changed():
                return
            # Renaming over a file makes ext4 write the new file's blocks first (auto_da_alloc): 1 ms a file.
            trees.remove_tree(os.fsdecode(last), parent)
            os.rename(made, last, src_dir_fd=parent, dst_dir_fd=parent)
        finally:
            # After a failure the temporary file still exists.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(made, dir_fd=parent)

    def _free_name(self, parent: int) -> bytes:
        try:
            if self._temporary:
                os.unlink(self._temporary, dir_fd=parent)
        except FileNotFoundError:
            pass
        except OSError:  # another user's file in a directory that everybody may write to
            return _random_name()
        return self._temporary or _random_name()

    def _link(self, link: bytes, made: bytes, parent: int) -> None:
        *directories, last = _split(link)
        source = self._walk(directories)
        try:
            os.link(last, made, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(source)

    def _reach(self, name: bytes) -> tuple[int, bytes]:
        """A descriptor of the directory of ``name``, which stays open for the next entry, and the last name."""
        *directories, last = _split(name)
        if self._parent is None or self._parent[0] != directories:
            self._forget_parent()
            descriptor = self._walk(directories)
            self._parent = directories, descriptor
            status = os.fstat(descriptor)
            if os.geteuid() == status.st_uid != 0 and status.st_mode & 0o300 != 0o300:
                # A read-only directory of ours becomes writable; finish() sets its mode again.
                self._directories.setdefault(b"/".join(directories), (stat.S_IMODE(status.st_mode), status.st_mtime_ns))
                os.fchmod(descriptor, stat.S_IMODE(status.st_mode) | 0o300)
        return self._parent[1], last

    def _walk(self, names: list[bytes]) -> int:
        descriptor = os.dup(self._descriptor)
        for name in names:
            try:
                inner = trees.open_directory(os.fsdecode(name), descriptor)
            finally:
                os.close(descriptor)
            descriptor = inner
            if self._mount not in (None, trees.mount_id(inner)):
                os.close(inner)
                raise OSError(errno.EXDEV, "another file system is mounted there")
        return descriptor

    def _forget_parent(self) -> None:
        if self._parent is not None:
            os.close(self._parent[1])
            self._parent = None

    @contextlib.contextmanager
    def _noting(self, name: bytes, silent: tuple[int, ...] = ()) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in FULL:
                raise
            if error.errno not in silent:
                self.failed.append(f"{os.fsdecode(name)!r}: {error.strerror}")


def _random_name() -> bytes:
    return b".scrun-" + os.urandom(8).hex().encode()


def _split(name: bytes) -> list[bytes]:
    names = name.split(b"/") if name else []
    if any(part in (b"", b".", b"..") or b"\0" in part for part in names):
        raise OSError(errno.EINVAL, "not a name inside the directory")
    return names


def _above(name: bytes) -> Iterator[bytes]:
    while name := os.path.dirname(name):
        yield name


def _status(name: bytes, parent: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
