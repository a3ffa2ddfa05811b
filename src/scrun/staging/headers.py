"""Write small files, directories and links as members of a tar archive, without tar(1) or tarfile.

For a few small files tar(1) costs two processes each, and importing tarfile takes longer than everything else that
carrying them needs. Large or unusual files are left to tar.
"""

from __future__ import annotations

import os
import stat

from scrun.staging.model import EXECUTABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SMALL = 1 << 14  # bytes; a larger file is left to tar
BLOCK = 512
END = bytes(2 * BLOCK)
_FILE, _LINK, _DEVICE, _DIRECTORY, _PAX = b"0", b"2", b"3", b"5", b"x"
_LONGEST = 100  # bytes of a name in a header
_LARGEST = 8**7 - 1  # id in a header
_LATEST = 8**11 - 1  # seconds since 1970 in a header


def member(path: bytes, name: bytes, xattrs: str, *, follow: bool = False, layer: bool = False) -> bytes | None:
    """The archive member for the file at ``path``, under another name; None if tar must do it, or tell the error.

    Args:
        path: the file, directory or link.
        name: its name in the archive.
        xattrs: which extended attributes are carried, "*" or "user.*"; a file that has some is left to tar.
        follow: whether a symbolic link at ``path`` is followed.
        layer: whether the file is in an overlay's layer, where a whiteout and an opaque directory stay what they are.
    """
    try:
        status = os.stat(path, follow_symlinks=follow)
        kind = stat.S_IFMT(status.st_mode)
        keys = os.listxattr(path, follow_symlinks=follow)
        if kind not in _KINDS and not (layer and is_whiteout(status)):
            return None
        if any(key.startswith(xattrs[:-1]) and not key.startswith(_OVERLAYS) for key in keys):
            return None
        of_overlay = _opaque(xattrs)
        further = {of_overlay: b"y"} if layer and of_overlay in keys else {}
        data = link = b""
        if kind == stat.S_IFLNK:
            link = os.readlink(path)
        elif kind == stat.S_IFREG:
            if status.st_nlink != 1 or status.st_size > SMALL:
                return None
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
            with open(os.open(path, flags), "rb") as file:
                data = file.read(SMALL + 1)
            if len(data) != status.st_size:
                return None
    except OSError:
        return None
    if not (name.isascii() and link.isascii()):
        return None  # tar encodes these so that the receiving tar reads them
    owner = (status.st_uid, status.st_gid)
    of_kind = _KINDS.get(kind, _DEVICE)
    return _member(name, of_kind, stat.S_IMODE(status.st_mode), owner, status.st_mtime_ns, data, link, further)


def opaque_directory(path: bytes, name: bytes, xattrs: str) -> bytes:
    """The archive member for the directory at ``path``, which will hide what the layers below have.

    Args:
        path: the directory.
        name: its name in the archive.
        xattrs: which extended attributes are carried: "*" for root's overlay, "user.*" for a user's.

    Raises:
        OSError: it can't be read.
    """
    status = os.lstat(path)
    keys = [key for key in os.listxattr(path, follow_symlinks=False) if key.startswith(xattrs[:-1])]
    kept = {key: os.getxattr(path, key, follow_symlinks=False) for key in keys if not key.startswith(_OVERLAYS)}
    kept[_opaque(xattrs)] = b"y"
    owner = (status.st_uid, status.st_gid)
    return _member(name, _DIRECTORY, stat.S_IMODE(status.st_mode), owner, status.st_mtime_ns, xattrs=kept)


def _opaque(xattrs: str) -> str:
    return f"{'user' if xattrs == 'user.*' else 'trusted'}.overlay.opaque"


def is_whiteout(status: os.stat_result) -> bool:
    """Whether a file of an overlay's layer hides one of the layers below (the device 0:0)."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


_OVERLAYS = ("user.overlay.", "trusted.overlay.")  # overlayfs's own attributes
_KINDS = {stat.S_IFREG: _FILE, stat.S_IFLNK: _LINK, stat.S_IFDIR: _DIRECTORY}


def file(name: str, data: bytes) -> bytes:
    """The archive member for a file of scrun's: readable for a container's users, in a directory of the user alone."""
    return _member(name.encode(), _FILE, 0o755 if name in EXECUTABLE else 0o644, (0, 0), 0, data)


def _member(
    name: bytes,
    kind: bytes,
    mode: int,
    owner: tuple[int, int],
    mtime_ns: int,
    data: bytes = b"",
    link: bytes = b"",
    xattrs: Mapping[str, bytes] = {},
) -> bytes:
    """A member in POSIX.1-2001's pax format; values that don't fit the header are in a pax header before it."""
    seconds, nanoseconds = divmod(abs(mtime_ns), 10**9)
    fits = mtime_ns >= 0 and seconds <= _LATEST
    further = {
        b"path": name if len(name) > _LONGEST else b"",
        b"linkpath": link if len(link) > _LONGEST else b"",
        b"uid": b"%d" % owner[0] if owner[0] > _LARGEST else b"",
        b"gid": b"%d" % owner[1] if owner[1] > _LARGEST else b"",
        b"mtime": b"%s%d.%09d" % (b"-" * (mtime_ns < 0), seconds, nanoseconds) if nanoseconds or not fits else b"",
        **{b"SCHILY.xattr." + key.encode(): value for key, value in xattrs.items()},
    }
    records = b"".join(_record(key, value) for key, value in further.items() if value)
    before = _header(b"pax", _PAX, 0o644, (0, 0), 0, len(records)) + _padded(records) if records else b""
    ids = (min(owner[0], _LARGEST), min(owner[1], _LARGEST))
    return before + _header(name, kind, mode, ids, seconds if fits else 0, len(data), link) + _padded(data)


def _record(key: bytes, value: bytes) -> bytes:
    """A pax record, ``LENGTH KEY=VALUE`` and a newline; the length includes its own digits."""
    rest = b" %s=%s\n" % (key, value)
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d%s" % (length, rest)


def _header(
    name: bytes, kind: bytes, mode: int, owner: tuple[int, int], mtime: int, size: int, link: bytes = b""
) -> bytes:
    fields = (
        name[:_LONGEST].ljust(_LONGEST, b"\0"),
        b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, *owner, size, mtime),
        b" " * 8,  # the checksum's field counts as blanks
        kind,
        link[:_LONGEST].ljust(_LONGEST, b"\0"),
        b"ustar\x0000",
    )
    header = b"".join(fields).ljust(BLOCK, b"\0")
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)
