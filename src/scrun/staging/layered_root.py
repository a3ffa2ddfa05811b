"""A root filesystem of an engine's layers, of which the nodes get an overlay too.

A layer that the nodes see is used where it lies. Each other one is carried once and kept on the nodes, by a name that a
later container finds again without reading the layer (:mod:`scrun.staging.layer_identity`). On a node::

    rootfs          what the container changes; it begins empty, so all that is in it comes back
    l/top           a copy of the engine's own upper directory: what a restarted container has changed before
    l/own           copies of other users' files (scrun.staging.foreign), if there are any
    l/0, l/1, …     links to the layers, the topmost first; or a copy of one that is the container's own alone

The mount's options must fit into a page, so all of it is reached by a short link beside the container's directory.
Where a node's runtime can't mount an overlay, the node mounts it for itself, and copies what it shows to rootfs.
"""

from __future__ import annotations

import os

from scrun.staging import foreign, layer_identity, node_directory
from scrun.staging.foreign import Foreign
from scrun.staging.layer_files import files_of
from scrun.staging.layer_identity import is_engines
from scrun.staging.layers import only_root_can_replace
from scrun.staging.model import Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from scrun.staging.archive import Archiver
    from scrun.staging.children import Children
    from scrun.staging.layer_files import LayerFiles
    from scrun.staging.layers import Layers
    from scrun.staging.model import ContainerFiles

OVERLAY, COPY, PLAIN = "overlay", "copy", "plain"  # how the nodes have a root filesystem
_PAGE = 4096 - 200  # bytes of mount options, without the flags among them, which aren't many
_TOP, _OWN = "l/top", "l/own"
_FEW = 60  # files; a layer that has no digest and not more of them is docker's own for one container
_LITTLE = 1 << 16  # bytes of them


class LayeredRoot:
    """The layers of a container's root filesystem.

    Args:
        layers: the layers, as the engine has mounted them here.
        container: the container.
        parent: NODE_DIR.
    """

    def __init__(self, layers: Layers, container: ContainerFiles, parent: str) -> None:
        self.layers = layers
        self.in_place: frozenset[str] = frozenset()  # those that the nodes use where they lie
        self.size = 0  # bytes to carry with the container
        self._container, self._parent = container, parent
        self._upper: LayerFiles | None = None
        self._foreign = Foreign()
        self.used = layers.lower  # without layers of the same content as one above
        self._names: dict[str, str] = {}  # of the layers that are kept on the nodes, by path
        self._single: dict[str, LayerFiles] = {}  # those that are carried with the container, by path

    @classmethod
    def of(cls, layers: Layers | None, container: ContainerFiles, parent: str) -> LayeredRoot | None:
        """The layers, if their names fit into a mount's options; else None."""
        if layers is None:
            return None
        layered = cls(layers, container, parent)
        longest = ",".join(layered.options("/" + "x" * 32))
        return layered if len(longest) < _PAGE else None

    def usable(self) -> tuple[str, ...]:
        """The layers that the job's user may mount on a node as they are here."""
        from scrun.identity import real_uid

        container, layers = self._container, self.layers
        # Another user may not read them. Root alone has the attributes trusted.*, and a user only user.*.
        if real_uid() != container.user_id or layers.xattrs != self._xattrs or layers.redirects:
            return ()
        if container.user_id:
            return layers.lower
        # Root of a node would mount whatever another user had put there by then.
        return tuple(path for path in layers.lower if only_root_can_replace(path))

    def prepare(self, children: Children, *, keep: bool) -> bool:
        """Find what has to be carried; False if an archive can't have it, or the nodes may ``keep`` no layers."""
        container, layers = self._container, self.layers
        self._upper, self._foreign = self._files(layers.upper), Foreign()
        if self._upper is None:
            return False
        self.size = self._upper.size
        if container.user_id and self.in_place:  # a container of root's has all users
            owner = _inside("uid", container.user_id), _inside("gid", container.group_id)
            used = layers._replace(lower=tuple(path for path in layers.lower if path in self.in_place))
            found = foreign.find_foreign(children, used, os.path.realpath(container.rootfs), owner, container.lists)
            if found is None:
                self.in_place = frozenset()
            else:
                self._foreign = found
                self.size += found.size
        is_named = self._name([path for path in layers.lower if path not in self.in_place])
        return is_named and (keep or not self._names)

    def _name(self, paths: Sequence[str]) -> bool:
        """Name the layers that are carried; False if one of them may change while it has the same name."""
        digests = layer_identity.digests(paths) if paths else {}
        self._names, self._single = {}, {}
        again = set()  # the kernel takes no layer twice, and it would show nothing more
        for path in paths:
            digest = digests.get(path, "")
            few = None if digest else self._files(path, _FEW)
            if few and few.size <= _LITTLE:
                self._single[path] = few
                self.size += few.size
                continue
            if not is_engines(path):
                return False
            name = layer_identity.name_of(path, digest, devices=self._container.devices)
            if name in self._names.values():
                again.add(path)
            else:
                self._names[path] = name
        self.used = tuple(path for path in self.layers.lower if path not in again)
        return True

    def order(self, home: str) -> str:
        """The order for the nodes (:mod:`scrun.staging.place`); ``home`` is the name in place of scrun-UID, or ""."""
        own = "own" if self._foreign.names else "-"
        short = os.path.basename(node_directory.short_path(self._container, self._parent, home))
        words = (path if path in self.in_place else self._names.get(path, "-") for path in self.used)
        return " ".join(("layers", short, self._kind, own, *words))

    def options(self, home: str) -> list[str]:
        """The options of the overlay's mount."""
        path = node_directory.node_path(self._container, self._parent, home)
        short = node_directory.short_path(self._container, self._parent, home)
        above = ["top", "own"] if self._foreign.names else ["top"]
        names = [*above, *map(str, range(len(self.used)))]
        return [
            self._kind,
            f"lowerdir={':'.join(f'{short}/{name}' for name in names)}",
            f"upperdir={path}/rootfs",
            f"workdir={path}/work",
        ]

    def list_layers(self, numbers: Collection[int]) -> dict[int, LayerFiles] | None:
        """List layers that are to be carried, by their numbers; None if an archive can't have one of them."""
        listed = {}
        for number in sorted(numbers):
            if (files := self._files(self.used[number])) is None:
                return None
            listed[number] = files
        return listed

    def forget_name(self, number: int) -> None:
        """Give a layer that was changed while it was carried a name that no other container asks for."""
        self._names[self.used[number]] = f"changed-{os.urandom(8).hex()}"

    def commit(self, numbers: Collection[int]) -> str:
        """The order that names carried layers."""
        return " ".join(("commit", *(f"{n}={self._names[self.used[n]]}" for n in sorted(numbers))))

    def archive_layer(self, archiver: Archiver, number: int, files: LayerFiles) -> bool:
        """Add a layer that the nodes keep; False if not all of it could be read."""
        part = Part(f"{number}/tree", self.used[number], is_directory=True, writable=False)
        return _add(archiver, part, files)

    def archive(self, archiver: Archiver, root: Part) -> None:
        """Add what is the container's alone: what is above the layers, and the root directory itself."""
        if self._foreign.names:
            own = root._replace(name=_OWN)
            archiver.add(own, only=self._foreign.names)
            archiver.add_opaque(own, self._foreign.closed)
        for number, path in enumerate(self.used):
            if path in self._single:
                _add(archiver, root._replace(name=f"l/{number}", source=path), self._single[path])
        if self._upper:
            _add(archiver, root._replace(name=_TOP, source=self.layers.upper), self._upper)
        archiver.add(root, only=(b"",))

    @property
    def _xattrs(self) -> str:
        """What overlayfs's attributes begin with on the nodes."""
        return "user." if self._container.user_id else "trusted."

    @property
    def _kind(self) -> str:
        return "userxattr" if self._container.user_id else _PLAIN

    def _files(self, path: str, most: int = 0) -> LayerFiles | None:
        try:
            return files_of(path, self.layers.xattrs, devices=self._container.devices, most=most)
        except OSError:
            return None  # a directory can't be read


# A directory that is renamed must not become a redirection, which no archive has.
_PLAIN = "redirect_dir=nofollow"


def _add(archiver: Archiver, part: Part, files: LayerFiles) -> bool:
    """Add a layer's files, its opaque directories last."""
    opaque = set(files.opaque)
    is_whole = archiver.add(part, only=[name for name in files.names if name not in opaque], layer=True)
    archiver.add_opaque(part, files.opaque)
    return is_whole


def _inside(kind: str, number: int) -> int:
    """The id in this user namespace of an id of the machine's; -1 if it has none."""
    with open(f"/proc/self/{kind}_map", encoding="utf-8") as id_map:
        for line in id_map:
            inside, outside, count = map(int, line.split())
            if outside <= number < outside + count:
                return inside + number - outside
    return -1
