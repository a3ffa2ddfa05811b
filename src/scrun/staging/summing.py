"""Takes the checksums of a tree that was carried, when its container runs already: nobody waits for them.

They are for a later container whose tree is a copy of this one (:mod:`scrun.staging.kept`).
"""

from __future__ import annotations

from scrun.errors import StagingError
from scrun.staging.children import Children
from scrun.staging.content import Hashing
from scrun.staging.images import parse, scan
from scrun.staging.kept import summed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.staging.images import Tree
    from scrun.staging.kept import Images


class Summing:
    """Those of ``root``, which was carried as ``tree``; it begins with :meth:`begin`, in a thread."""

    def __init__(self, images: Images, root: str, tree: Tree, *, xattrs: str, devices: bool) -> None:
        self._images, self._root, self._tree = images, root, tree
        self._xattrs, self._devices = xattrs, devices
        self._hashing: Hashing | None = None

    def begin(self) -> None:
        """Start reading."""
        listing = parse(self._tree.listing)
        try:
            self._hashing = Hashing(self._root, summed(listing, listing), self._xattrs)
        except OSError:
            pass  # it is gone: then there are none

    @property
    def is_busy(self) -> bool:
        """Whether it still reads."""
        return bool(self._hashing and not self._hashing.has_ended)

    def finish(self) -> None:
        """Wait for it, and keep what it found, if the tree still is what was carried."""
        if not self._hashing:
            return
        hashing, self._hashing = self._hashing, None
        hashing.wait()
        try:
            with Children() as children:
                again = scan(children, self._root, devices=self._devices)
        except StagingError:
            return
        before, now = parse(self._tree.listing), parse(again.listing)
        # One that has no identity was changed as it was listed; nobody will ask for its checksum.
        same = {name: found for name, found in hashing.found.items() if before.get(name) == now.get(name)}
        self._images.add_sums(self._tree, same)
