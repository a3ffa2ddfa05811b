"""Which images the nodes may have, by the listings of the trees that they were made of, and which one is near a tree.

A file that is the very one that was carried (:mod:`scrun.staging.images`) needs no look. One that is another but looks
the same, in a copy of the tree, is the same if its checksum is that of the file that was carried; checksums were taken
then. What was found to be the same is remembered, so that the copy's files are known from then on.
"""

from __future__ import annotations

import os

from scrun.staging.content import SIZE
from scrun.staging.images import NOBODY, Delta, Tree, is_directory, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import NamedTuple

    from scrun.staging.content import Checksums
    from scrun.staging.images import Listing
else:
    from scrun.named_tuple import NamedTuple

_KEPT = 8  # listings of so many trees, some 80 bytes a file; and as many of their copies
_LITTLE = 1 << 16  # bytes that are no reason to carry a tree again, nor to look at more than their listing
_READING = 8  # times as fast as carrying, about
_UNKNOWN = bytes(SIZE)


class _Difference(NamedTuple):
    """Names of a tree: what differs from another's, what only looks the same there, and what is there alone."""

    changed: frozenset[bytes]
    alike: frozenset[bytes]
    gone: frozenset[bytes]


class Images:
    """The listings of one user's trees that were carried, in a directory of his own.

    In it NAME is a listing, .NAME.sums has the checksums of the files and directories in it, in its order, and
    NAME.COPY is the listing of a copy: with its own identities where its files are the image's, else with the image's.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def closest(self, tree: Tree, checksums: Checksums | None = None) -> tuple[str, Delta]:
        """The image that needs the smallest delta to be the tree, and that; the tree's own name where none is near.

        ``checksums`` takes those of the tree's files, which may take a while.
        """
        if os.path.exists(self._file(tree.name)):
            return tree.name, Delta()
        ours = parse(tree.listing)
        best, least = None, max(_LITTLE, tree.size // 4)
        for name in self._names():
            theirs = self._read(name)
            if not 0.5 < len(theirs) / max(1, len(ours)) < 2:
                continue
            found = _compare(ours, theirs)
            doubtful = _size(ours, found.alike)
            if checksums is None or doubtful <= _LITTLE or not os.path.exists(self._sums(_image(name))):
                found = found._replace(changed=found.changed | found.alike, alike=frozenset())
                doubtful = 0
            cost = _size(ours, found.changed) + doubtful // _READING
            if cost < least and _is_near(ours, found):
                best, least = (name, found, theirs), cost
        if best is None:
            return tree.name, Delta()
        name, found, theirs = best
        image = _image(name)
        if found.alike and checksums:
            found = self._decide(image, ours, found, checksums)
            if _size(ours, found.changed) >= max(_LITTLE, tree.size // 4) or not _is_near(ours, found):
                return tree.name, Delta()
            self._keep_copy(image, tree, theirs, found)
        else:
            self._touch(name)
        return image, _delta(ours, found)

    def add_sums(self, tree: Tree, checksums: Mapping[bytes, bytes]) -> None:
        """Remember the checksums of a tree that was carried, by name; one that lacks has been changed since."""
        listing = parse(tree.listing)
        known = (checksums.get(name, _UNKNOWN) for name in summed(listing, listing))
        self._write(self._sums(tree.name), b"".join(known))

    def keep(self, tree: Tree) -> None:
        """Remember a tree that was carried, and forget those that weren't used for long."""
        self._write(self._file(tree.name), tree.listing)
        for name in [name for name in self._names() if name == _image(name)][_KEPT:]:
            self.forget(name)

    def used(self, name: str) -> None:
        """It serves still."""
        self._touch(name)

    def forget(self, name: str) -> None:
        """No node has it any more."""
        for one in (self._sums(name), *(self._file(other) for other in self._names() if _image(other) == name)):
            try:
                os.unlink(one)
            except OSError:
                pass

    def _decide(self, image: str, ours: Listing, found: _Difference, checksums: Checksums) -> _Difference:
        """See by their checksums which of the files that look the same are."""
        theirs = self._read(image)
        known = self._read_sums(image, theirs)
        sums = checksums(summed(ours, found.alike))
        links, their_links = _links(ours), _links(theirs)

        def is_same(name: bytes) -> bool:
            kind = ours[name][0][:1]
            if kind in _SUMMED:
                known_one = known.get(name, _UNKNOWN)
                if known_one == _UNKNOWN or sums.get(name) != known_one:
                    return False
            # A listing doesn't say which device it is.
            return kind not in b"bc" and links.get(name) == their_links.get(name)

        changed = set(found.changed).union(name for name in found.alike if not is_same(name))
        torn = {links[name] for name in changed if name in links}
        changed.update(name for name, first in links.items() if first in torn)
        return found._replace(changed=frozenset(changed), alike=found.alike - changed)

    def _keep_copy(self, image: str, tree: Tree, theirs: Listing, found: _Difference) -> None:
        ours = parse(tree.listing)
        fields = []
        for name, facts in theirs.items():
            what, identity = ours[name] if name in ours and name not in found.changed else facts
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
                return parse(file.read())
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
            pass  # then it is carried again

    def _touch(self, name: str) -> None:
        for one in {name, _image(name)}:
            try:
                os.utime(self._file(one))
            except OSError:
                pass

    def _names(self) -> list[str]:
        """The last used one first."""
        found = []
        try:
            for entry in os.scandir(self._path):
                if not entry.name.startswith("."):
                    found.append((entry.stat().st_mtime_ns, entry.name))
        except OSError:
            pass
        return [name for _, name in sorted(found, reverse=True)]

    def _file(self, name: str) -> str:
        return os.path.join(self._path, name)

    def _sums(self, name: str) -> str:
        return self._file(f".{name}.sums")


_SUMMED = b"fd"  # what has a content, or extended attributes; nobody opens a device to see what is in it


def summed(listing: Listing, names: Iterable[bytes]) -> list[bytes]:
    """Those of the names that have a checksum."""
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


def _is_near(ours: Listing, found: _Difference) -> bool:
    return len(found.gone) + len(found.changed) < max(1000, len(ours) // 2)


def _size(listing: Listing, names: Iterable[bytes]) -> int:
    return sum(int(listing[name][0].split(b" ", 5)[4]) for name in names if listing[name][0][:1] == b"f")


def _links(listing: Listing) -> dict[bytes, bytes]:
    """The names of files that have several, each with the first of them."""
    names: dict[bytes, list[bytes]] = {}
    for name, (what, identity) in listing.items():
        if what[:1] == b"f" and not identity.startswith(NOBODY):
            names.setdefault(identity.partition(b" ")[2], []).append(name)
    return {name: min(same) for same in names.values() if len(same) > 1 for name in same}


def _delta(ours: Listing, found: _Difference) -> Delta:
    # A directory that is gone says all of what was in it. One that is a file now is replaced by the delta.
    tops = {
        name
        for name in found.gone
        if os.path.dirname(name) not in found.gone and is_directory(ours, os.path.dirname(name))
    }
    changed = {*found.changed, *_above(found.changed), *_above(tops)}
    return Delta(tuple(sorted(changed)), tuple(sorted(tops)), _size(ours, found.changed))


def _above(names: Iterable[bytes]) -> Iterator[bytes]:
    """The directories that the names are in: made anew on the node, they need their modes and times."""
    for name in names:
        while name:
            name = os.path.dirname(name)
            yield name
