"""List what is in an overlay's layer: names to be carried, with whiteouts and opaque directories."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from scrun.named_tuple import NamedTuple

_LARGE = 1 << 20  # bytes from which on a file's holes are looked at
_OF_A_FILE = 3  # KB on a disk, beside its content


class LayerFiles(NamedTuple):
    """The files of a layer: their names, b"" the layer itself; ``opaque`` are directories among them.

    ``size`` is in bytes, and ``kilobytes`` is about what the files take on a disk.
    """

    names: tuple[bytes, ...]
    opaque: tuple[bytes, ...]
    size: int
    kilobytes: int


def files_of(path: str, xattrs: str, *, devices: bool, most: int = 0) -> LayerFiles | None:
    """List a layer.

    Args:
        path: the layer's directory.
        xattrs: what the names of overlayfs's own attributes in it begin with: ``user.`` or ``trusted.``.
        devices: whether device nodes are carried. Whiteouts always are; sockets never.
        most: how many files are looked for at most; 0 for all.

    Returns:
        None if there are more, or if an archive can't have a file, because its name or content is elsewhere.

    Raises:
        OSError: a directory can't be read.
    """
    top = os.fsencode(path)
    names, opaque, size, on_disk = [b""], [], 0, 0
    linked: set[tuple[int, int]] = set()  # inodes with several names, which are carried once
    left = [b""]
    while left:
        directory = left.pop()
        if (kind := _kind_of_directory(os.path.join(top, directory), xattrs)) is None:
            return None
        if kind and directory:
            opaque.append(directory)
        with os.scandir(os.path.join(top, directory)) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                name = os.path.join(directory, entry.name)
                if not _is_carried(status, devices=devices):
                    continue
                if stat.S_ISDIR(status.st_mode):
                    left.append(name)
                elif stat.S_ISREG(status.st_mode):
                    if _is_elsewhere(entry.path, xattrs):
                        return None
                    inode = status.st_dev, status.st_ino
                    bytes_of = 0 if inode in linked else status.st_size
                    if status.st_nlink > 1:
                        linked.add(inode)
                    size += bytes_of
                    on_disk += min(bytes_of, 512 * status.st_blocks) if bytes_of >= _LARGE else bytes_of
                names.append(name)
                if most and len(names) > most:
                    return None
    return LayerFiles(tuple(sorted(names)), tuple(sorted(opaque)), size, on_disk // 1024 + _OF_A_FILE * len(names))


def _is_carried(status: os.stat_result, *, devices: bool) -> bool:
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        return devices or (stat.S_ISCHR(status.st_mode) and status.st_rdev == 0)
    return not stat.S_ISSOCK(status.st_mode)


def _kind_of_directory(path: bytes, xattrs: str) -> bool | None:
    """Whether a directory hides what is below it; None if it is a renamed one, or hides in another way."""
    names = _own_attributes(path, xattrs)
    if "redirect" in names:
        return None
    if "opaque" not in names:
        return False
    return True if os.getxattr(path, f"{xattrs}overlay.opaque", follow_symlinks=False) == b"y" else None


def _is_elsewhere(path: bytes, xattrs: str) -> bool:
    """Whether a file's content is in another layer, or it stands for a removed one."""
    return bool({"metacopy", "redirect", "whiteout"} & _own_attributes(path, xattrs))


def _own_attributes(path: bytes, xattrs: str) -> set[str]:
    prefix = f"{xattrs}overlay."
    return {name[len(prefix) :] for name in os.listxattr(path, follow_symlinks=False) if name.startswith(prefix)}
