"""Take the checksums of a carried tree while its container runs, so that nobody waits for them.

A later container, whose tree is a copy of this one, needs the checksums (:mod:`scrun.staging.kept`).
"""

from __future__ import annotations

from scrun.errors import StagingError
from scrun.staging.children import Children
from scrun.staging.content import Hashing
from scrun.staging.images import parse_listing, scan
from scrun.staging.kept import summed

_PATIENCE = 5.0  # seconds that the end of a container waits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.staging.images import ListedTree
    from scrun.staging.kept import Images


class Summing:
    """The checksums of the directory ``root``, which was carried as ``tree``; :meth:`begin` starts a thread."""

    def __init__(self, images: Images, root: str, tree: ListedTree, *, xattrs: str, devices: bool) -> None:
        self._images, self._root, self._tree = images, root, tree
        self._xattrs, self._devices = xattrs, devices
        self._hashing: Hashing | None = None

    def begin(self) -> None:
        """Start reading."""
        listing = parse_listing(self._tree.listing)
        try:
            self._hashing = Hashing(self._root, summed(listing, listing), self._xattrs)
        except OSError:
            pass  # the directory is gone, so there are no checksums

    @property
    def is_busy(self) -> bool:
        """Whether the thread still reads."""
        return bool(self._hashing and not self._hashing.has_ended)

    def finish(self) -> None:
        """Wait for the thread for some seconds, and keep the checksums of files that are still the carried ones.

        A file without a checksum counts as changed, so it is only carried once more.
        """
        if not self._hashing:
            return
        hashing, self._hashing = self._hashing, None
        hashing.wait(_PATIENCE)
        try:
            with Children() as children:
                again = scan(children, self._root, devices=self._devices)
        except StagingError:
            return
        before, now = parse_listing(self._tree.listing), parse_listing(again.listing)
        # A file without an identity changed while it was listed; its checksum is never needed.
        same = {name: checksum for name, checksum in hashing.checksums.items() if before.get(name) == now.get(name)}
        self._images.add_sums(self._tree, same)
