"""A root filesystem of an engine's layers that the nodes see: nothing of them is carried.

On a node the runtime mounts an overlay of these directories, of which the topmost is written to::

    rootfs          what the container changes there; it begins empty, so all that is in it comes back
    l/top           a copy of the engine's own upper directory: what a restarted container has changed before
    l/own           copies of other users' files (scrun.staging.foreign), if there are any
    l/0, l/1, …     links to the engine's layers, the topmost first

The mount's options must fit into a page, so all of it is reached by a short link beside the container's directory.
"""

from __future__ import annotations

import os
import stat

from scrun.staging import foreign, node_directory
from scrun.staging.foreign import Foreign
from scrun.staging.layers import only_root_can_replace
from scrun.staging.model import Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrun.staging.archive import Archiver
    from scrun.staging.children import Children
    from scrun.staging.layers import Layers
    from scrun.staging.model import ContainerFiles

LAYERS = "layers"  # how the nodes have the root filesystem, beside "overlay", "copy" and "plain"
_PAGE = 4096 - 200  # bytes of mount options, without the flags among them, which aren't many
_TOP, _OWN = "l/top", "l/own"


class LayeredRoot:
    """The layers of a container's root filesystem.

    Args:
        layers: the layers, as the engine has mounted them here.
        container: the container.
        parent: NODE_DIR.
    """

    def __init__(self, layers: Layers, container: ContainerFiles, parent: str) -> None:
        self.layers = layers
        self._container, self._parent = container, parent
        self._upper: tuple[bytes, ...] = ()
        self._foreign = Foreign()
        self.size = 0  # bytes to carry

    @classmethod
    def of(cls, layers: Layers | None, container: ContainerFiles, parent: str) -> LayeredRoot | None:
        """The layers, if the job's user may mount them on a node as they are here; else None."""
        if layers is None or container.overlay is None:
            return None
        from scrun.identity import real_uid

        # Another user may not read them. Root alone has the attributes trusted.*, and a user only user.*.
        if real_uid() != container.user_id or layers.xattrs != ("user." if container.user_id else "trusted."):
            return None
        if not container.user_id and not all(map(only_root_can_replace, layers.lower)):
            return None  # root of a node would mount whatever another user had put there by then
        layered = cls(layers, container, parent)
        longest = ",".join(layered.options("/" + "x" * 32))
        return layered if len(longest) < _PAGE else None

    def prepare(self, children: Children) -> bool:
        """Find what has to be carried; False if it is too much, or can't be carried."""
        container, layers = self._container, self.layers
        entries = list(_in_upper(os.fsencode(layers.upper), layers.xattrs, devices=container.devices))
        if None in entries:
            return False
        self._upper = tuple(name for entry in entries if entry for name in entry[:1])
        self.size = sum(entry[1] for entry in entries if entry)
        if container.user_id == 0:
            return True  # a container of root's has all users
        owner = _inside("uid", container.user_id), _inside("gid", container.group_id)
        memory = os.path.join(os.path.dirname(container.images), ".layers") if container.images else ""
        found = foreign.find_foreign(children, layers, os.path.realpath(container.rootfs), owner, memory)
        if found is None:
            return False
        self._foreign = found
        self.size += found.size
        return True

    def order(self, home: str) -> str:
        """The order for the nodes (:mod:`scrun.staging.place`); ``home`` is the name in place of scrun-UID, or ""."""
        kind = "userxattr" if self.layers.xattrs == "user." else _PLAIN
        own = "own" if self._foreign.names else "-"
        short = os.path.basename(node_directory.short_path(self._container, self._parent, home))
        return " ".join(("layers", kind, short, own, *self.layers.lower))

    def options(self, home: str) -> list[str]:
        """The options of the overlay's mount."""
        path = node_directory.node_path(self._container, self._parent, home)
        short = node_directory.short_path(self._container, self._parent, home)
        above = ["top", "own"] if self._foreign.names else ["top"]
        names = [*above, *map(str, range(len(self.layers.lower)))]
        return [
            "userxattr" if self.layers.xattrs == "user." else _PLAIN,
            f"lowerdir={':'.join(f'{short}/{name}' for name in names)}",
            f"upperdir={path}/rootfs",
            f"workdir={path}/work",
        ]

    def archive(self, archiver: Archiver, root: Part) -> None:
        """Add what is carried: the engine's upper directory, other users' files, and the root directory itself."""
        if self._foreign.names:
            own = root._replace(name=_OWN)
            archiver.add(own, only=self._foreign.names)
            archiver.add_opaque(own, self._foreign.closed)
        archiver.add(root._replace(name=_TOP, source=self.layers.upper), only=self._upper, layer=True)
        archiver.add(root, only=(b"",))


# A directory that is renamed must not become a redirection, which no archive has.
_PLAIN = "redirect_dir=nofollow"


def _in_upper(upper: bytes, xattrs: str, *, devices: bool) -> Iterator[tuple[bytes, int] | None]:
    """Yield the name and the bytes of each file that is carried; None for one that an archive can't have."""
    yield b"", 0
    yield from _below(upper, b"", xattrs, devices=devices)


def _below(upper: bytes, above: bytes, xattrs: str, *, devices: bool) -> Iterator[tuple[bytes, int] | None]:
    with os.scandir(os.path.join(upper, above)) as entries:
        found = sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)
    for last, status in found:
        name = os.path.join(above, last)
        kind = stat.S_IFMT(status.st_mode)
        is_device = kind in (stat.S_IFCHR, stat.S_IFBLK)
        if kind == stat.S_IFSOCK or (is_device and status.st_rdev != 0 and not devices):
            continue
        is_plain = kind in (stat.S_IFDIR, stat.S_IFREG)
        yield None if is_plain and _is_special(os.path.join(upper, name), xattrs) else (name, status.st_size)
        if kind == stat.S_IFDIR:
            yield from _below(upper, name, xattrs, devices=devices)


def _is_special(path: bytes, xattrs: str) -> bool:
    """Whether a file of an upper directory has its name or content elsewhere."""
    own = f"{xattrs}overlay."
    names = {name for name in os.listxattr(path, follow_symlinks=False) if name.startswith(own)}
    if names & {f"{own}redirect", f"{own}metacopy"}:
        return True
    return f"{own}opaque" in names and os.getxattr(path, f"{own}opaque", follow_symlinks=False) != b"y"


def _inside(kind: str, number: int) -> int:
    """The id in this user namespace of an id of the machine's; -1 if it has none."""
    with open(f"/proc/self/{kind}_map", encoding="ascii") as id_map:
        for line in id_map:
            inside, outside, count = map(int, line.split())
            if outside <= number < outside + count:
                return inside + number - outside
    return -1
