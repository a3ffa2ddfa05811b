"""Open and remove files in directories that others can write to, name by name, without following symbolic links."""

from __future__ import annotations

import errno
import os
import stat

_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_directory(name: str, parent: int | None = None) -> int:
    """Open a directory.

    Raises:
        OSError: ELOOP or ENOTDIR for a symbolic link; or the directory can't be opened.
    """
    return os.open(name, _DIRECTORY, dir_fd=parent)


def open_place(path: str) -> int:
    """An O_PATH descriptor of the file at an absolute path, which may have no symbolic link.

    Raises:
        OSError: the path has a link (ENOTDIR, ELOOP), or nothing is there.
    """
    descriptor = os.open("/", _PLACE | os.O_DIRECTORY)
    *directories, last = [name for name in path.split("/") if name] or ["."]
    for name, flag in (*((name, os.O_DIRECTORY) for name in directories), (last, 0)):
        try:
            inner = os.open(name, _PLACE | flag, dir_fd=descriptor)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        finally:
            os.close(descriptor)
        descriptor = inner
    if stat.S_ISLNK(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    return descriptor


def identity(place: str | int) -> tuple[int, int]:
    """The inode number of a file (a path or a descriptor) and its file system's id; a new mount changes neither."""
    return os.stat(place).st_ino, os.statvfs(place).f_fsid


def mount_id(descriptor: int) -> bytes:
    """The id of the mount that a descriptor was opened in (proc(5), fdinfo)."""
    with open(f"/proc/self/fdinfo/{descriptor}", "rb") as file:
        return next(line for line in file if line.startswith(b"mnt_id:"))


def open_again(path: str, flags: int, known: tuple[int, int]) -> int:
    """Open the file at an absolute path without symbolic links, if its :func:`identity` is ``known``; (0, 0) is any.

    Raises:
        OSError: the file has another identity (ESTALE), or can't be opened.
    """
    held = open_place(path)
    try:
        if known != (0, 0) and identity(held) != known:
            raise OSError(errno.ESTALE, "isn't what was there when the container was created", path)
        return os.open(f"/proc/self/fd/{held}", flags | os.O_CLOEXEC)
    finally:
        os.close(held)


def remove_tree(name: str, parent: int | None = None) -> None:
    """Remove a file, or a directory with its content; a missing file is no error.

    Raises:
        OSError: EXDEV if something is mounted there; or the file can't be removed.
    """
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=parent)
        return
    above = os.stat(os.path.dirname(name) or "/") if parent is None else os.stat(parent)
    if status.st_dev != above.st_dev:
        raise OSError(errno.EXDEV, "something is mounted there", name)
    if stat.S_IMODE(status.st_mode) & 0o700 != 0o700 and os.geteuid() != 0:
        # chmod(2) follows links, so a descriptor is used.
        _unlock(name, parent)
    descriptor = open_directory(name, parent)
    try:
        for entry in os.listdir(descriptor):
            remove_tree(entry, descriptor)
    finally:
        os.close(descriptor)
    os.rmdir(name, dir_fd=parent)


def _unlock(name: str, parent: int | None) -> None:
    descriptor = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{descriptor}", 0o700)
    finally:
        os.close(descriptor)


def is_there(directory: int) -> bool:
    """Whether an open directory has not been removed."""
    name = f".scrun-{os.urandom(8).hex()}"
    try:
        os.mkdir(name, 0o700, dir_fd=directory)
        os.rmdir(name, dir_fd=directory)
    except FileNotFoundError:  # the error in a removed directory; in an overlay the link count doesn't tell
        return False
    except OSError:
        pass  # the directory exists, but can't be written to
    return True
