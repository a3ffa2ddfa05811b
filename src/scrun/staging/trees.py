"""Files in directories that others can write to: every step down is by descriptor, and no symbolic link is followed."""

from __future__ import annotations

import errno
import os
import stat

_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_directory(name: str, parent: int | None = None) -> int:
    """A descriptor of a directory; OSError (ELOOP, ENOTDIR) for a symbolic link."""
    return os.open(name, _DIRECTORY, dir_fd=parent)


def hold(path: str) -> int:
    """A descriptor of what an absolute path leads to without any symbolic link; for no more than to say what it is.

    Raises:
        OSError: a link is there by now (ENOTDIR, ELOOP), or nothing.
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
    """The number of what is at a path, or open, and of its file system; both stay when that is mounted anew."""
    return os.stat(place).st_ino, os.statvfs(place).f_fsid


def mount_id(descriptor: int) -> bytes:
    """Which mount it was opened in (proc(5), fdinfo)."""
    with open(f"/proc/self/fdinfo/{descriptor}", "rb") as file:
        return next(line for line in file if line.startswith(b"mnt_id:"))


def open_again(path: str, flags: int, known: tuple[int, int]) -> int:
    """Open what is at an absolute path without symbolic links, if it has that :func:`identity`; (0, 0): whatever it is.

    Raises:
        OSError: it is something else by now (ESTALE), or can't be opened.
    """
    held = hold(path)
    try:
        if known != (0, 0) and identity(held) != known:
            raise OSError(errno.ESTALE, "isn't what was there when the container was created", path)
        return os.open(f"/proc/self/fd/{held}", flags | os.O_CLOEXEC)
    finally:
        os.close(held)


def remove(name: str, parent: int | None = None) -> None:
    """Remove a file, or a directory with all that is in it, unless something is mounted there.

    Nothing to remove is fine. Raises OSError, EXDEV for a mount.
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
        # chmod can't be told not to follow links, so it is done through the descriptor where we may read.
        _unlock(name, parent)
    descriptor = open_directory(name, parent)
    try:
        for entry in os.listdir(descriptor):
            remove(entry, descriptor)
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
    """Whether an open directory still has a name, or something can be made in it that somebody could find."""
    name = f".scrun-{os.urandom(8).hex()}"
    try:
        os.mkdir(name, 0o700, dir_fd=directory)
        os.rmdir(name, dir_fd=directory)
    except FileNotFoundError:  # that is what a removed one answers; its link count tells nothing in an overlay
        return False
    except OSError:
        pass  # as it may to its user
    return True
