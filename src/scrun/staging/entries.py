"""Make one file of an archive under a name in an open directory."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from scrun.staging import in_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    import tarfile
    from collections.abc import Callable, Iterator
    from typing import IO

    from scrun.staging.in_place import Data

_CHUNK = 64 * 1024
_XATTR = "SCHILY.xattr."
_OVERLAYS = (_XATTR + "user.overlay.", _XATTR + "trusted.overlay.")  # overlayfs's own attributes


def make_entry(
    name: bytes, parent: int, info: tarfile.TarInfo, content: IO[bytes] | None, owner: tuple[int, int] | None
) -> None:
    """Make a file, symbolic link, named pipe or device.

    Raises:
        OSError: it can't be made, or isn't allowed.
    """
    if info.issym():
        os.symlink(info.linkname.encode("utf-8", "surrogateescape"), name, dir_fd=parent)
        give(name, parent, owner)
        os.utime(name, ns=(mtime_ns(info), mtime_ns(info)), dir_fd=parent, follow_symlinks=False)
    elif info.isfifo() or info.isdev():
        kind = stat.S_IFIFO if info.isfifo() else stat.S_IFCHR if info.ischr() else stat.S_IFBLK
        os.mknod(name, kind | 0o600, 0 if info.isfifo() else os.makedev(info.devmajor, info.devminor), dir_fd=parent)
        give(name, parent, owner)
        _chmod(name, parent, stat.S_IMODE(info.mode))
        os.utime(name, ns=(mtime_ns(info), mtime_ns(info)), dir_fd=parent, follow_symlinks=False)
    elif content is not None:
        _make_file(name, parent, info, content, owner)


def owner_of(
    info: tarfile.TarInfo, old: os.stat_result | None, new_owner: tuple[int, int] | None
) -> tuple[int, int] | None:
    """The owner of a file: its predecessor's, else ``new_owner``, else the archive's; None if the caller isn't root."""
    if os.geteuid() != 0:
        return None
    if old is not None:
        return old.st_uid, old.st_gid
    return new_owner or (info.uid, info.gid)


def give(name: bytes, parent: int, owner: tuple[int, int] | None) -> None:
    """Change the owner, unless the user namespace doesn't have that id."""
    if owner is not None:
        with as_far_as_it_goes():
            os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)


def mtime_ns(info: tarfile.TarInfo) -> int:
    """The modification time in nanoseconds, from the pax header, because a float is not exact enough."""
    seconds, _, fraction = info.pax_headers.get("mtime", str(int(info.mtime))).partition(".")
    sign = -1 if seconds.startswith("-") else 1
    return int(seconds) * 10**9 + sign * int(f"{fraction:0<9.9}")


def is_same(name: bytes, parent: int, info: tarfile.TarInfo, content: IO[bytes] | None) -> bool:
    """Whether a file has the entry's content; mode and times don't count. False if the file can't be read."""
    try:
        if info.issym():
            return os.readlink(name, dir_fd=parent) == info.linkname.encode("utf-8", "surrogateescape")
        if content is None:
            return not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size != info.size:
                return False
            read = _reader(content)
            for start, end in _joined([*data_of(info), *in_place.data_in(descriptor, info.size)]):
                while start < end and (chunk := read(min(_CHUNK, end - start), start)):
                    if os.pread(descriptor, len(chunk), start) != chunk:
                        return False
                    start += len(chunk)
            return True
        finally:
            os.close(descriptor)
    except OSError:
        return False


def _chmod(name: bytes, parent: int, mode: int) -> None:
    """Change a mode without opening the file, which might wait or act on a device, and without following a link."""
    place = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{place}", mode)
    finally:
        os.close(place)


def _set_attribute(descriptor: int, key: str, value: bytes) -> None:
    try:
        with as_far_as_it_goes():
            os.setxattr(descriptor, key, value)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        # ext4's limit for the attributes of one file, which other file systems don't have (setxattr(2)). The disk isn't
        # full, so the other files can still come back.
        raise OSError(errno.E2BIG, f"its attribute {key} of {len(value)} bytes has no room") from error


def _reader(content: IO[bytes]) -> Callable[[int, int], bytes]:
    """Read from places of a file in an archive that is a stream, in their order; over holes, which are not in it."""
    raw: IO[bytes] = getattr(content, "raw", content)  # its buffer wants to know whether the stream can be sought in

    def read(size: int, position: int) -> bytes:
        if raw.tell() != position:
            raw.seek(position)
        return raw.read(size)

    return read


def _joined(pieces: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pieces in order, those that overlap as one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(pieces):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def is_opaque(info: tarfile.TarInfo) -> bool:
    """Whether the container removed an image's directory and made it anew, so that it hides the image's content."""
    return any(info.pax_headers.get(prefix + "opaque") == "y" for prefix in _OVERLAYS)


def data_of(info: tarfile.TarInfo) -> Data:
    """The pieces of the content that aren't holes: the node says where a file has holes."""
    pieces: list[tuple[int, int]] | None = getattr(info, "sparse", None)
    if not pieces:
        return [(0, info.size)]
    return [(start, min(start + size, info.size)) for start, size in pieces if size > 0]


def write_content(content: IO[bytes], info: tarfile.TarInfo, descriptor: int, *, before: int = 0) -> None:
    """Write the content to an open file that has had ``before`` bytes; holes stay holes.

    A hole costs the container nothing, so it is neither read nor written: there may be exabytes of it.
    """

    in_place.copy(_reader(content), descriptor, data_of(info), zeros=min(before, info.size))
    os.ftruncate(descriptor, info.size)


def _make_file(
    name: bytes, parent: int, info: tarfile.TarInfo, content: IO[bytes], owner: tuple[int, int] | None
) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600, dir_fd=parent)
    try:
        write_content(content, info, descriptor)
        if owner is not None:
            with as_far_as_it_goes():
                os.fchown(descriptor, *owner)
        for key, value in info.pax_headers.items():
            if key.startswith(_XATTR) and not key.startswith(_OVERLAYS):
                _set_attribute(descriptor, key.removeprefix(_XATTR), value.encode("utf-8", "surrogateescape"))
        os.fchmod(descriptor, stat.S_IMODE(info.mode))  # after the owner, which clears setuid
        os.utime(descriptor, ns=(mtime_ns(info), mtime_ns(info)))
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def as_far_as_it_goes() -> Iterator[None]:
    """Ignore errors of a change that isn't permitted: an owner, or mode and time of another user's file."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EINVAL, errno.ENOTSUP):
            raise
