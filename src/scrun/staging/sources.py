"""Where the source of a bind mount really is, when the source is itself a mount point.

Engines show a part of a volume (podman's ``subpath``, docker's ``volume-subpath``, a pod's ``subPath``) by a mount of
their own, which they take away again as soon as the container is created or started. A node never sees that mount, and
what is brought back later must go to where the files are. So create looks, while the mount is there, for other paths
that lead to the same directory or file; mountinfo of proc(5) tells them.
"""

from __future__ import annotations

import os

from scrun.errors import StagingError
from scrun.mount import is_bind, is_within
from scrun.staging.mountinfo import MountTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NamedTuple
else:
    from scrun.named_tuple import NamedTuple

_SHM = "/dev/shm"  # noqa: S108  the container's: podman mounts a tmpfs for it, which no node uses
# How docker and podman name such a mount, in a directory of theirs.
_TEMPORARY = ("safe-mount", "subpath")
_ENOUGH = 4  # paths
_LAYERS = ("lowerdir", "upperdir", "workdir")


class Source(NamedTuple):
    """What create has seen at such a mount point; ``places`` are other paths of the same thing."""

    places: list[str]
    device: int
    inode: int
    read_only: bool

    def paths(self, mounted_at: str, destination: str) -> list[str]:
        """Where it is by now.

        Raises:
            StagingError: at none of the paths that led to it.
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


def find(config: dict[str, Any], bundle: str) -> dict[str, Source]:
    """Those sources of the config's mounts that an engine has mounted for this container.

    Most containers have none; so the mount table is taken apart only when one's name is in it.
    """
    given = {path for mount in config.get("mounts") or () for path in _paths(mount, bundle)}
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            text = file.read()
    except OSError:
        return {}
    named = [path for path in given if b"/%s " % _escape(os.path.basename(path)) in text]
    if not named:
        return {}
    ours, others = MountTable(text), MountTable.of("1")
    return {path: found for path in named if (found := _look(path, ours, others))}


def source_of(mount: dict[str, Any], bundle: str) -> str:
    """A bind's source as an absolute path: relative to the bundle where it isn't one (runtime-spec, config.md)."""
    return os.path.normpath(os.path.join(bundle, mount.get("source", "")))


def layers_of(mount: dict[str, Any]) -> list[tuple[str, str]]:
    """The directories of an overlay (podman's ``:O`` and images), each with the name of its option.

    None where they are written in a way that isn't understood here: a comma or a colon in a name.
    """
    options = [option for option in mount.get("options") or () if option.partition("=")[0] in _LAYERS]
    if mount.get("type") != "overlay" or any("\\" in option for option in options):
        return []
    named = [option.partition("=") for option in options]
    return [(name, path) for name, _, paths in named for path in paths.split(":") if path.startswith("/")]


def _paths(mount: dict[str, Any], bundle: str) -> list[str]:
    if is_bind(mount):
        return [source_of(mount, bundle)] if mount.get("destination") != _SHM else []
    return [path for _, path in layers_of(mount)]


def _look(path: str, ours: MountTable, others: MountTable | None) -> Source | None:
    real = os.path.realpath(path)
    mount = ours.covering(real)
    if mount is None or mount.point != real:
        return None
    is_private = others is not None and others.location(real) != ours.location(real)
    if not (is_private or os.path.basename(real).startswith(_TEMPORARY)):
        return None  # a mount of this host's, which stays
    try:
        status = os.stat(real)
    except OSError:
        return None
    found = Source([], status.st_dev, status.st_ino, "ro" in mount.options)
    places = [place for place in _places(mount.device, mount.root, ours) if place != real]
    places = found._replace(places=places).paths(real, "") if places else [real]
    # First what others on this host see as well: a namespace's own mounts end with it.
    places.sort(key=lambda place: others is not None and others.location(place) != ours.location(place))
    return found._replace(places=places[:_ENOUGH])


def _places(device: str, root: str, table: MountTable) -> Iterator[str]:
    """The paths that lead to ``root`` of the file system ``device``, by the mounts that show it."""
    for mount in table.mounts:
        if mount.device == device and is_within(root, mount.root):
            place = os.path.normpath(os.path.join(mount.point, os.path.relpath(root, mount.root)))
            # Not where another mount hides it, nor through a symbolic link.
            if table.covering(place) == mount and os.path.realpath(place) == place:
                yield place


def _escape(name: str) -> bytes:
    """A name as mountinfo writes it."""
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\" else b"%c" % byte for byte in os.fsencode(name))
