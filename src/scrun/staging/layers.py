"""Find the layers of a root filesystem that an engine has mounted as an overlay, so that nodes can use them too.

The kernel's mount table names the layers (:mod:`scrun.staging.mountinfo`), except in two cases. docker and containerd
name them relative to a directory of their own, if they are many. podman then names descriptors, which nobody else has;
its storage keeps the layers' names in the file ``lower`` beside the mount point.
"""

from __future__ import annotations

import os

from scrun import small_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import NamedTuple

    from scrun.staging.mountinfo import MountTable
else:
    from scrun.named_tuple import NamedTuple

_UNFIT = frozenset("\\:,\"'*?[")  # characters that mean something in mount options, or to the nodes' shell
_REDIRECTS = frozenset(("metacopy=on", "redirect_dir=on", "redirect_dir=follow"))


class Layers(NamedTuple):
    """An overlay's layers: ``lower`` are real paths, the topmost first; ``upper`` has the container's own files.

    ``xattrs`` begins the names of overlayfs's attributes in all of them: ``user.`` (mount option userxattr), else
    ``trusted.``. ``redirects`` says that a layer's file may have its name or content in another layer.
    """

    lower: tuple[str, ...]
    upper: str
    xattrs: str
    redirects: bool = False

    @staticmethod
    def one_of_each(paths: Sequence[str], mounts: MountTable | None) -> dict[str, str]:
        """For each lower directory one of the same mount: a node that sees that one sees all of them."""
        chosen = {mounts.covering(path) if mounts else path: path for path in paths}
        return {path: chosen[mounts.covering(path) if mounts else path] for path in paths}


def find_layers(rootfs: str, mounts: MountTable | None) -> Layers | None:
    """The layers of the overlay that is mounted at ``rootfs``; None if there is none, or one that nodes can't mount."""
    rootfs = os.path.realpath(rootfs)
    mount = mounts.covering(rootfs) if mounts else None
    if mount is None or mount.point != rootfs or mount.fstype != "overlay" or "\\" in mount.data:
        return None
    options = mount.data.split(",")
    if any(option.startswith("datadir+=") for option in options):
        return None  # the content is in directories that are no layers
    names = [
        name
        for key, _, value in (option.partition("=") for option in options)
        if key in ("lowerdir", "lowerdir+")
        for name in value.split(":")
    ]
    uppers = [option.partition("=")[2] for option in options if option.startswith("upperdir=")]
    if not names or not all(names) or len(uppers) != 1:
        return None
    redirects = not _REDIRECTS.isdisjoint(options)
    home = os.path.dirname(os.path.dirname(rootfs))
    upper = os.path.join(home, uppers[0])
    lower = _resolve(names, rootfs, home, upper)
    if not lower or not os.path.isdir(upper) or not all(_is_fit(path) for path in lower):
        return None
    return Layers(tuple(lower), upper, "user." if "userxattr" in options else "trusted.", redirects)


def only_root_can_replace(path: str) -> bool:
    """Whether no other user can put something else in a directory's place."""
    return all(status.st_uid == 0 and not status.st_mode & 0o022 for status in map(os.stat, (*_above(path), "/")))


def _resolve(names: list[str], rootfs: str, home: str, upper: str) -> list[str]:
    """The layers' real paths; empty if one can't be found, or has gone."""
    if all(name.isdecimal() for name in names):
        known = _names_beside(rootfs)
        names = known if len(known) == len(names) else []
    for base in (home, *_above(upper)):
        paths = [os.path.realpath(os.path.join(base, name)) for name in names]
        if all(os.path.isdir(path) for path in paths):
            return paths
    return []


def _names_beside(rootfs: str) -> list[str]:
    try:
        text = small_file.read(os.path.join(os.path.dirname(rootfs), "lower"))
    except OSError:
        return []
    return os.fsdecode(text).strip().split(":")


def _above(path: str) -> Iterator[str]:
    while (path := os.path.dirname(path)) != "/":
        yield path


def _is_fit(path: str) -> bool:
    return _UNFIT.isdisjoint(path) and path.isprintable() and " " not in path
