"""What becomes of the config's mounts on a node."""

from __future__ import annotations

import os
import stat

from scrun import identity
from scrun.mount import copies_link, is_bind, is_within_any
from scrun.staging import mount_points
from scrun.staging.sources import layers_of, source_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any

    from scrun.staging.sources import Source

# A node has these of its own, and its container should see that node's.
_NODES_OWN = ("/proc", "/sys", "/dev")
# Beyond this a copy in the bundle's directory, which may be on a user's quota, is too much. podman's and docker's
# resolv.conf, hosts, hostname and .containerenv are some hundred bytes.
SMALL = 64 * 1024
_PODMANS = "/userdata/overlay/"


class Bind:
    """A path of this host's in a mount of the config, a bind's source mostly, which the nodes may not have.

    ``source`` is that path, ``asked`` are the paths at which a node may have the same.
    """

    def __init__(self, mount: dict[str, Any], source: str, one: Source | None = None, layer: str = "") -> None:
        """``one`` says more of a source that the engine has mounted, ``layer`` which of an overlay's options has it.

        Raises:
            StagingError: the engine has mounted it, and it is to be had nowhere.
            OSError: it can't be looked at.
        """
        self.mount = mount
        self._written, self._layer = source, layer
        places = one.paths(source, mount["destination"]) if one else [source]
        self.source = places[0]
        status = os.stat(self.source, follow_symlinks=not copies_link(mount))
        self.identity = (status.st_dev, status.st_ino)
        self.size = status.st_size
        self.is_directory = stat.S_ISDIR(status.st_mode)
        self.is_regular = stat.S_ISREG(status.st_mode)
        self.is_link = stat.S_ISLNK(status.st_mode)
        self.is_mounted_by_engine = one is not None
        self.is_closed = not self.is_link and not layer and _is_closed(self.source, status)
        self.kind = _kind(status.st_mode)
        # A node would look at what a link leads to. Of a volume's part (see sources.py) the machine's root asks for
        # none: other containers that use the volume could put a symbolic link in its place, and root's container would
        # be shown what that leads to on the node.
        self.asked = [] if self.is_link or (one and identity.is_machines_root()) else places
        options = mount.get("options") or []
        if layer:
            # What podman keeps of an overlay itself goes with the container.
            self.writable = layer == "upperdir" and _PODMANS not in source
        else:
            self.writable = "ro" not in options and "rro" not in options
        self.recursive = "rbind" in options and not layer

    @property
    def is_small(self) -> bool:
        """Whether a copy costs next to nothing."""
        return self.is_regular and self.size <= SMALL and not self.is_mounted_by_engine

    def use(self, path: str) -> None:
        """Have the mount take that path."""
        if not self._layer:
            self.mount["source"] = path
            return
        options = self.mount["options"]
        for index, option in enumerate(options):
            name, _, paths = option.partition("=")
            if name == self._layer:
                changed = [path if one == self._written else one for one in paths.split(":")]
                options[index] = f"{name}={':'.join(changed)}"
        self._written = path

    def use_one_of(self, paths: Collection[str]) -> None:
        """Use one of these, if it is among those at which a node may have it."""
        self.source = next((path for path in self.asked if path in paths), self.source)
        self.use(self.source)


def binds(config: dict[str, Any], bundle: str, on_nodes: Sequence[str], mounted: Mapping[str, Source]) -> list[Bind]:
    """The paths to look at, absolute ones.

    Left out are the nodes' own: what lies under ``on_nodes``, the kernel's filesystems, and what doesn't exist here
    (the node's OCI runtime complains if it is not there either). ``mounted`` are the sources that the engine has
    mounted for this container alone.

    Raises:
        StagingError: one of these is to be had nowhere.
    """
    found = []
    for mount in config.get("mounts") or []:
        paths = [("", source_of(mount, bundle))] if is_bind(mount) else layers_of(mount)
        for layer, path in paths:
            if is_within_any(path, (*_NODES_OWN, *on_nodes)):
                continue
            try:
                bind = Bind(mount, path, mounted.get(path), layer)
            except OSError:
                continue
            if path in mounted and mounted[path].read_only and not layer:
                mount["options"] = [*(word for word in mount.get("options") or () if word != "rw"), "ro"]
                bind.writable = False
            own = [place for place in bind.asked if is_within_any(place, on_nodes)]
            bind.use_one_of(own)
            if not own:
                found.append(bind)
    return found


def _is_closed(path: str, status: os.stat_result) -> bool:
    """Whether we can read it here, and the job's user couldn't on a node: he is no root of a user namespace there."""
    need = os.R_OK | (os.X_OK if stat.S_ISDIR(status.st_mode) else 0)
    above = [os.path.realpath(path)]
    while above[-1] != "/":
        above.append(os.path.dirname(above[-1]))
    try:
        if _grants(path, status, need) and all(_grants(name, os.stat(name), os.X_OK) for name in above[1:]):
            return False
    except OSError:
        return False
    return mount_points.is_needed() and os.access(path, need)


def _grants(path: str, status: os.stat_result, need: int) -> bool:
    """Whether its mode gives that to us as a plain user; what an access control list does isn't looked into."""
    shift = 6 if status.st_uid == os.geteuid() else 3 if status.st_gid == os.getegid() else 0
    return not need & ~(status.st_mode >> shift) or "system.posix_acl_access" in os.listxattr(path)


def _kind(mode: int) -> str:
    for test, word in ((stat.S_ISSOCK, "socket"), (stat.S_ISFIFO, "named pipe"), (stat.S_ISDIR, "directory")):
        if test(mode):
            return word
    return "file" if stat.S_ISREG(mode) else "device"
