"""Find other paths of a bind mount's source if the source is a mount point of the engine's own.

Engines show a part of a volume (podman's ``subpath``, docker's ``volume-subpath``, a pod's ``subPath``) by a mount that
they remove as soon as the container is created or started. A node never sees that mount, and changed files must be
brought back to their real place. So create looks, while the mount exists, for other paths of the same directory or
file, by mountinfo (proc(5)).
"""

from __future__ import annotations

import os

from scrun.errors import StagingError
from scrun.mount import is_bind, is_within
from scrun.staging.mountinfo import MountTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from scrun.oci import Config, Mount
else:
    from scrun.named_tuple import NamedTuple

_SHM = "/dev/shm"  # noqa: S108  a path in the container: podman mounts a tmpfs there, which no node uses
# Beginnings of the names that docker and podman give to such mount points.
_TEMPORARY = ("safe-mount", "subpath")
_ENOUGH = 4  # paths
_LAYERS = ("lowerdir", "upperdir", "workdir")


class MountSource(NamedTuple):
    """The file at an engine's mount point, as create saw it; ``places`` are other paths of the same file."""

    places: list[str]
    device: int
    inode: int
    read_only: bool

    def paths(self, mounted_at: str, destination: str) -> list[str]:
        """The paths that still lead to the file.

        Args:
            mounted_at: the engine's mount point, which is used if no other path is left.
            destination: the mount's destination, for the error.

        Raises:
            StagingError: no path leads to the file any more.
        """
        there = [place for place in self.places if self._is_at(place)]
        if not there and self._is_at(mounted_at):
            there = [mounted_at]
        if not there:
            raise StagingError(
                f"mount {destination}: what was at {mounted_at} when the container was created isn't there any more, "
                "nor at any other path: mount it by a path that stays"
            )
        return there

    def _is_at(self, path: str) -> bool:
        try:
            status = os.stat(path)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == (self.device, self.inode)


def find_sources(config: Config, bundle: str) -> dict[str, MountSource]:
    """The sources of the config's mounts that an engine has mounted for this container alone, by their paths.

    Most containers have none, so the mount table is parsed only if it contains the name of a source.
    """
    paths = {path for mount in config.get("mounts") or () for path in _paths(mount, bundle)}
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            text = file.read()
    except OSError:
        return {}
    named = [path for path in paths if b"/%s " % _escape(os.path.basename(path)) in text]
    if not named:
        return {}
    ours, others = MountTable(text), MountTable.of("1")
    return {path: source for path in named if (source := _look(path, ours, others))}


def source_of(mount: Mount, bundle: str) -> str:
    """A bind's source as an absolute path; a relative one is relative to the bundle (runtime-spec, config.md)."""
    return os.path.normpath(os.path.join(bundle, mount.get("source", "")))


def layers_of(mount: Mount) -> list[tuple[str, str]]:
    """The directories of an overlay (podman's ``:O`` and images), each with the name of its option.

    Empty if a name has a comma or a colon, because such names are escaped in a way that isn't understood here.
    """
    options = [option for option in mount.get("options") or () if option.partition("=")[0] in _LAYERS]
    if mount.get("type") != "overlay" or any("\\" in option for option in options):
        return []
    named = [option.partition("=") for option in options]
    return [(name, path) for name, _, paths in named for path in paths.split(":") if path.startswith("/")]


def _paths(mount: Mount, bundle: str) -> list[str]:
    if is_bind(mount):
        return [source_of(mount, bundle)] if mount.get("destination") != _SHM else []
    return [path for _, path in layers_of(mount)]


def _look(path: str, ours: MountTable, others: MountTable | None) -> MountSource | None:
    real = os.path.realpath(path)
    mount = ours.covering(real)
    if mount is None or mount.point != real:
        return None
    is_private = others is not None and others.location(real) != ours.location(real)
    if not (is_private or os.path.basename(real).startswith(_TEMPORARY)):
        return None  # a mount of this host that stays
    try:
        status = os.stat(real)
    except OSError:
        return None
    source = MountSource([], status.st_dev, status.st_ino, "ro" in mount.options)
    places = [place for place in _places(mount.device, mount.root, ours) if place != real]
    places = source._replace(places=places).paths(real, "") if places else [real]
    # Paths that other processes of this host see come first, because a namespace's own mounts end with the namespace.
    places.sort(key=lambda place: others is not None and others.location(place) != ours.location(place))
    return source._replace(places=places[:_ENOUGH])


def _places(device: str, root: str, table: MountTable) -> Iterator[str]:
    """The paths that lead to ``root`` of the file system ``device``."""
    for mount in table.mounts:
        if mount.device == device and is_within(root, mount.root):
            place = os.path.normpath(os.path.join(mount.point, os.path.relpath(root, mount.root)))
            # Skip a path that another mount hides, or that has a symbolic link.
            if table.covering(place) == mount and os.path.realpath(place) == place:
                yield place


def _escape(name: str) -> bytes:
    """A name as mountinfo writes it (proc(5))."""
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\" else b"%c" % byte for byte in os.fsencode(name))
