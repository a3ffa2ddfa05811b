"""The config's mounts of this host's files, and the paths that the nodes use for them."""

from __future__ import annotations

import os
import stat

from scrun import identity
from scrun.mount import copies_link, is_bind, is_within_any
from scrun.staging import mount_points
from scrun.staging.mount_sources import layers_of, source_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from scrun.oci import Config, Mount
    from scrun.staging.mount_sources import MountSource

# A container should see its node's own files in these directories.
_NODES_OWN = ("/proc", "/sys", "/dev")
# Bytes of a file that may be copied into the bundle's directory, which may count for a user's quota. The resolv.conf,
# hosts, hostname and .containerenv of podman and docker have some hundred bytes.
SMALL = 64 * 1024
_PODMANS = "/userdata/overlay/"
_UNMAPPED = 65534  # what stands for each group that a user namespace doesn't know (user_namespaces(7))


class Bind:
    """A path of this host in a mount, mostly a bind's source, which the nodes may not have.

    ``source`` is the path; ``asked`` are paths at which a node may have the same file.
    """

    def __init__(self, mount: Mount, source: str, one: MountSource | None = None, layer: str = "") -> None:
        """Look at the source of a mount.

        Args:
            mount: the mount of the config.
            source: the path.
            one: more about a source that the engine has mounted.
            layer: the option of an overlay that names the path; "" for a bind.

        Raises:
            StagingError: the engine had mounted the source, and no path leads to it any more.
            OSError: the source can't be looked at.
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
        self.kind = _kind(status.st_mode)
        # A node would follow a link, so links are not asked about. The machine's root asks about no part of a volume
        # either (mount_sources.py): another container that uses the volume could put a symbolic link in its place, and
        # root's container would see the link's target on the node.
        self.asked = [] if self.is_link or (one and identity.is_machines_root()) else places
        options = mount.get("options") or []
        if layer:
            # podman removes its own overlay directories with the container, so nothing is brought back there.
            self.writable = layer == "upperdir" and _PODMANS not in source
        else:
            self.writable = "ro" not in options and "rro" not in options
        self.recursive = "rbind" in options and not layer
        self.is_closed = not self.is_link and not layer and _is_closed(self.source, status, writable=self.writable)

    @property
    def is_small(self) -> bool:
        """Whether the source is a file small enough to be copied into the bundle."""
        return self.is_regular and self.size <= SMALL and not self.is_mounted_by_engine

    def use(self, path: str) -> None:
        """Make the mount use that path."""
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
        """Use one of these paths if a node may have the file there (``asked``)."""
        self.source = next((path for path in self.asked if path in paths), self.source)
        self.use(self.source)


def binds(config: Config, bundle: str, on_nodes: Sequence[str], mounted: Mapping[str, MountSource]) -> list[Bind]:
    """The mounts of this host's files that nodes may not have.

    Left out are the nodes' own paths (``on_nodes``), the kernel's file systems, and sources that don't exist here: the
    node's runtime tells the error if a source doesn't exist there either.

    Args:
        config: the container's config; mounts of ``on_nodes`` paths are changed to use them.
        bundle: the directory that relative sources refer to.
        on_nodes: paths that the nodes have themselves.
        mounted: sources that the engine has mounted for this container alone, by their paths.

    Raises:
        StagingError: the engine had mounted a source, and no path leads to it any more.
    """
    on_this_host = []
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
                on_this_host.append(bind)
    return on_this_host


def _is_closed(path: str, status: os.stat_result, *, writable: bool) -> bool:
    """Whether the caller can use the path as root of a user namespace, and the job's user on a node could not.

    podman gives a volume to the container's user, who is a subordinate user here, and there a stranger to the job's
    user. On the job's user's own files the container's root has all rights there too, whatever their modes are.
    """
    need = os.R_OK | (os.X_OK if stat.S_ISDIR(status.st_mode) else 0)
    if writable and status.st_uid != os.geteuid():
        need |= os.W_OK
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
    """Whether the mode grants ``need`` to the caller as a plain user; an access control list counts as yes.

    A group that isn't mapped may be one of the caller's, a project's say: she has it on the node too.
    """
    is_group = status.st_gid == os.getegid() or (status.st_gid == _UNMAPPED and not _is_mapped(path, status))
    shift = 6 if status.st_uid == os.geteuid() else 3 if is_group else 0
    return not need & ~(status.st_mode >> shift) or "system.posix_acl_access" in os.listxattr(path)


def _is_mapped(path: str, status: os.stat_result) -> bool:
    """Whether the owner is a user of this user namespace, whose nobody has the number of all whom it doesn't know.

    O_NOATIME is refused for the files of those (open(2)).
    """
    if not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
        return False
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NOATIME | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _kind(mode: int) -> str:
    for test, word in ((stat.S_ISSOCK, "socket"), (stat.S_ISFIFO, "named pipe"), (stat.S_ISDIR, "directory")):
        if test(mode):
            return word
    return "file" if stat.S_ISREG(mode) else "device"
