"""Remember the listings of carried trees, which the nodes may have as images, and find the image closest to a tree.

A file with the same identity as the carried one (:mod:`scrun.staging.images`) is not read. A file that only looks the
same, in a copy of the tree, is compared by checksum; the carried file's checksum was taken when it was carried. The
result is remembered as the listing of a copy, so that the copy's files are known from then on.
"""

from __future__ import annotations

import os

from scrun.staging.content import SIZE
from scrun.staging.images import NOBODY, Delta, ListedTree, has_directory, parse_listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import NamedTuple

    from scrun.staging.content import Checksums
    from scrun.staging.images import Listing
else:
    from scrun.named_tuple import NamedTuple

_KEPT = 8  # listings of trees, about 80 bytes a file; and as many listings of copies
_LITTLE = 1 << 16  # bytes that are sent without comparing checksums or carrying the tree again
_READING = 8  # reading is about this many times as fast as carrying
_UNKNOWN = bytes(SIZE)


class _Difference(NamedTuple):
    """Names that differ between two trees: changed, only looking the same (``alike``), or removed (``gone``)."""

    changed: frozenset[bytes]
    alike: frozenset[bytes]
    gone: frozenset[bytes]


class Images:
    """The listings of one user's carried trees, in a directory of that user.

    In the directory, NAME is a listing, and .NAME.sums has the checksums of its files and directories, in the same
    order. NAME.COPY is a copy's listing, with the copy's identities for files equal to the image's, else the image's.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def closest(self, tree: ListedTree, checksums: Checksums | None = None) -> tuple[str, Delta]:
        """The image with the smallest delta to the tree, and the delta; the tree's own name if no image is near.

        ``checksums`` computes checksums of the tree's files, which may take a while.
        """
        if os.path.exists(self._file(tree.name)):
            return tree.name, Delta()
        ours = parse_listing(tree.listing)
        best, least = None, max(_LITTLE, tree.size // 4)
        for name in self._names():
            theirs = self._read(name)
            if not 0.5 < len(theirs) / max(1, len(ours)) < 2:
                continue
            difference = _compare(ours, theirs)
            doubtful = _size(ours, difference.alike)
            if checksums is None or doubtful <= _LITTLE or not os.path.exists(self._sums(_image(name))):
                difference = difference._replace(changed=difference.changed | difference.alike, alike=frozenset())
                doubtful = 0
            cost = _size(ours, difference.changed) + doubtful // _READING
            if cost < least and _is_near(ours, difference):
                best, least = (name, difference, theirs), cost
        if best is None:
            return tree.name, Delta()
        name, difference, theirs = best
        image = _image(name)
        if difference.alike and checksums:
            difference = self._decide(image, ours, difference, checksums)
            if _size(ours, difference.changed) >= max(_LITTLE, tree.size // 4) or not _is_near(ours, difference):
                return tree.name, Delta()
            self._keep_copy(image, tree, theirs, difference)
        else:
            self._touch(name)
        return image, _delta(ours, difference)

    def add_sums(self, tree: ListedTree, checksums: Mapping[bytes, bytes]) -> None:
        """Remember the checksums of a carried tree by name; a missing one means that the file has changed since."""
        listing = parse_listing(tree.listing)
        known = (checksums.get(name, _UNKNOWN) for name in summed(listing, listing))
        self._write(self._sums(tree.name), b"".join(known))

    def keep(self, tree: ListedTree) -> None:
        """Remember a carried tree, and forget trees that have not been used for longest."""
        self._write(self._file(tree.name), tree.listing)
        for name in [name for name in self._names() if name == _image(name)][_KEPT:]:
            self.forget(name)

    def used(self, name: str) -> None:
        """Remember that an image was used now."""
        self._touch(name)

    def forget(self, name: str) -> None:
        """Forget an image that no node has any more."""
        for one in (self._sums(name), *(self._file(other) for other in self._names() if _image(other) == name)):
            try:
                os.unlink(one)
            except OSError:
                pass

    def _decide(self, image: str, ours: Listing, difference: _Difference, checksums: Checksums) -> _Difference:
        """Compare files that look the same by their checksums."""
        theirs = self._read(image)
        known = self._read_sums(image, theirs)
        sums = checksums(summed(ours, difference.alike))
        links, their_links = _links(ours), _links(theirs)

        def is_same(name: bytes) -> bool:
            kind = ours[name][0][:1]
            if kind in _SUMMED:
                known_one = known.get(name, _UNKNOWN)
                if known_one == _UNKNOWN or sums.get(name) != known_one:
                    return False
            # A listing doesn't have a device's numbers.
            return kind not in b"bc" and links.get(name) == their_links.get(name)

        changed = set(difference.changed).union(name for name in difference.alike if not is_same(name))
        torn = {links[name] for name in changed if name in links}
        changed.update(name for name, first in links.items() if first in torn)
        return difference._replace(changed=frozenset(changed), alike=difference.alike - changed)

    def _keep_copy(self, image: str, tree: ListedTree, theirs: Listing, difference: _Difference) -> None:
        ours = parse_listing(tree.listing)
        fields = []
        for name, facts in theirs.items():
            what, identity = ours[name] if name in ours and name not in difference.changed else facts
            fields += [name, what, identity]
        self._write(self._file(f"{image}.{tree.name[:16]}"), b"\0".join([*fields, b""]))
        for copy in [name for name in self._names() if name != _image(name)][_KEPT:]:
            try:
                os.unlink(self._file(copy))
            except OSError:
                pass

    def _read(self, name: str) -> Listing:
        try:
            with open(self._file(name), "rb") as file:
                return parse_listing(file.read())
        except OSError:
            return {}

    def _read_sums(self, image: str, listing: Listing) -> dict[bytes, bytes]:
        try:
            with open(self._sums(image), "rb") as file:
                data = file.read()
        except OSError:
            return {}
        names = summed(listing, listing)
        if len(data) != SIZE * len(names):
            return {}
        return {name: data[index * SIZE : (index + 1) * SIZE] for index, name in enumerate(names)}

    def _write(self, path: str, data: bytes) -> None:
        directory, name = os.path.split(path)
        try:
            os.makedirs(directory, 0o700, exist_ok=True)
            temporary = os.path.join(directory, f".{name}.{os.getpid()}")
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(data)
            os.rename(temporary, path)
        except OSError:
            pass  # the tree will be carried again

    def _touch(self, name: str) -> None:
        for one in {name, _image(name)}:
            try:
                os.utime(self._file(one))
            except OSError:
                pass

    def _names(self) -> list[str]:
        """The names of all listings, the last used first."""
        by_use = []
        try:
            for entry in os.scandir(self._path):
                if not entry.name.startswith("."):
                    by_use.append((entry.stat().st_mtime_ns, entry.name))
        except OSError:
            pass
        return [name for _, name in sorted(by_use, reverse=True)]

    def _file(self, name: str) -> str:
        return os.path.join(self._path, name)

    def _sums(self, name: str) -> str:
        return self._file(f".{name}.sums")


_SUMMED = b"fd"  # kinds with content or extended attributes; a device must not be opened


def summed(listing: Listing, names: Iterable[bytes]) -> list[bytes]:
    """The names of files and directories, which have checksums."""
    return [name for name in names if listing[name][0][:1] in _SUMMED]


def _image(name: str) -> str:
    return name.partition(".")[0]


def _compare(ours: Listing, theirs: Listing) -> _Difference:
    changed, alike = set(), set()
    for name, facts in ours.items():
        other = theirs.get(name)
        if facts == other:
            continue
        identities = facts[1], other[1] if other else NOBODY
        if other and facts[0] == other[0] and not any(one.startswith(NOBODY) for one in identities):
            alike.add(name)
        else:
            changed.add(name)
    return _Difference(frozenset(changed), frozenset(alike), frozenset(name for name in theirs if name not in ours))


def _is_near(ours: Listing, difference: _Difference) -> bool:
    return len(difference.gone) + len(difference.changed) < max(1000, len(ours) // 2)


def _size(listing: Listing, names: Iterable[bytes]) -> int:
    return sum(int(listing[name][0].split(b" ", 5)[4]) for name in names if listing[name][0][:1] == b"f")


def _links(listing: Listing) -> dict[bytes, bytes]:
    """The names of files with several names, each with the first name of the same file."""
    names: dict[bytes, list[bytes]] = {}
    for name, (what, identity) in listing.items():
        if what[:1] == b"f" and not identity.startswith(NOBODY):
            names.setdefault(identity.partition(b" ")[2], []).append(name)
    return {name: min(same) for same in names.values() if len(same) > 1 for name in same}


def _delta(ours: Listing, difference: _Difference) -> Delta:
    # A removed directory stands for everything in it. A directory that is a file now is replaced by the delta.
    tops = {
        name
        for name in difference.gone
        if os.path.dirname(name) not in difference.gone and has_directory(ours, os.path.dirname(name))
    }
    changed = {*difference.changed, *_above(difference.changed), *_above(tops)}
    return Delta(tuple(sorted(changed)), tuple(sorted(tops)), _size(ours, difference.changed))


def _above(names: Iterable[bytes]) -> Iterator[bytes]:
    """The directories above the names; a node makes them anew, so they need their modes and times."""
    for name in names:
        while name:
            name = os.path.dirname(name)
            yield name
