"""What the nodes may have of a directory tree already: the trees that were carried before, and how ours differs.

A tree is known by its listing: of each file its type, mode, owner, size, mtime and link target, and its identity here,
inode and ctime. Nobody can set a ctime: a file whose listing is the same has the same content, so nothing has to be
read, which for 600 MB would take as long as carrying them. What differs goes along as a delta. Files that changed just
when they were listed might change again within the same tick of the clock: they have no identity.

Where a file is another here but looks the same (a copy of a tree, as podman's vfs driver makes for each container) its
content decides, by the checksums that were taken after the tree had been carried.
"""

from __future__ import annotations

import hashlib
import os
import time

from scrun.errors import StagingError
from scrun.staging.archive import left_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import NamedTuple

    from scrun.staging.children import Children

    Listing = dict[bytes, tuple[bytes, bytes]]  # by name: what has to be the same on the node, and the identity
else:
    from scrun.record import NamedTuple

_KEPT = 8  # listings of so many trees, some 80 bytes a file
_TICK = 0.02  # seconds; the kernel's clock for files goes by 1 to 10 ms
_NOBODY = b"?"
_LITTLE = 1 << 16  # bytes that are no reason to carry a tree again
# Of directories neither size nor inode say anything: they are their file system's.
_FORMAT = [
    *("(", "-type", "d", "-printf", r"%P\0d %m %U %G %T@\0%C@\0", ")"),
    *("-o", "-printf", r"%P\0%y %m %U %G %s %T@ %l\0%C@ %i\0"),
]


class Tree(NamedTuple):
    """A listing, its name (a checksum of it), and the bytes and files in it."""

    name: str
    listing: bytes
    size: int
    files: int


class Delta(NamedTuple):
    """How a tree differs from one that was carried: what to send with what is above it, and what is no more."""

    changed: tuple[bytes, ...] = ()
    gone: tuple[bytes, ...] = ()
    size: int = 0


def scan(children: Children, root: str, *, devices: bool, tick: float = _TICK) -> Tree:
    """List a directory, with or without the device nodes in it; ``tick`` is in seconds.

    Raises:
        StagingError: it can't be read at all.
    """
    begun = time.time()
    memory = os.memfd_create("scrun")
    try:
        import subprocess

        argv = ["find", ".", "-xdev", "(", *left_out(devices=devices), ")", "-o", *_FORMAT]
        try:
            child = children.run(argv, stdin=subprocess.DEVNULL, stdout=memory, cwd=root)
        except OSError as error:
            raise StagingError(f"{root}: can't be read: {error.strerror}") from error
        children.wait(lambda: children.has_closed(child))
        child.process.wait()  # 1 for a directory that isn't ours to read; tar says so
        with open(memory, "rb", closefd=False) as file:
            file.seek(0)
            listing = file.read()
    finally:
        os.close(memory)
    return _tree(_without_fresh(listing, begun - tick))


def _tree(listing: bytes) -> Tree:
    fields = listing.split(b"\0")
    size = sum(int(what.split(b" ", 5)[4]) for what in fields[1::3] if what[:1] == b"f")
    return Tree(hashlib.sha256(listing).hexdigest()[:40], listing, size, len(fields) // 3)


def _without_fresh(listing: bytes, limit: float) -> bytes:
    """The listing without the identities of what changed after the time."""
    fields = listing.split(b"\0")
    fresh = [index for index in range(2, len(fields), 3) if float(fields[index].split(b" ")[0]) > limit]
    for index in fresh:
        fields[index] = _NOBODY + os.urandom(8).hex().encode()  # which no other listing has
    return b"\0".join(fields) if fresh else listing


def settled(tree: Tree, again: Tree) -> tuple[Tree, list[bytes]]:
    """The tree as it can be kept, by a second listing, and what of it has changed since the first and forbids that.

    A directory that changed by itself (its owner, a mount of podman's) forbids nothing: it goes along with each delta.
    """
    before, now = _parse(tree.listing), _parse(again.listing)

    def is_same(name: bytes) -> bool:
        was, is_now = before.get(name), now.get(name)
        if was is None or is_now is None or was[0] != is_now[0]:
            return False
        return was[1] == is_now[1] or was[1].startswith(_NOBODY)

    others = sorted(name for name in before.keys() | now.keys() if not is_same(name))
    loose = {name for name in others if _is_directory(before, name) and _is_directory(now, name)}
    if not loose:
        return tree, others
    fields = tree.listing.split(b"\0")
    for index in range(0, len(fields) - 1, 3):
        if fields[index] in loose:
            fields[index + 2] = _NOBODY
    return tree._replace(listing=b"\0".join(fields)), [name for name in others if name not in loose]


class Images:
    """The listings of one user's trees that were carried, in a directory of his own."""

    def __init__(self, path: str) -> None:
        self._path = path

    def closest(self, tree: Tree) -> tuple[str, Delta]:
        """The tree that was carried and needs the smallest delta, and that; its own name where none is near."""
        if os.path.exists(self._file(tree.name)):
            return tree.name, Delta()
        ours = _parse(tree.listing)
        best = tree.name, Delta()
        limit = max(_LITTLE, tree.size // 4)
        for name in self._names():
            try:
                with open(self._file(name), "rb") as file:
                    theirs = _parse(file.read())
            except OSError:
                continue
            if not 0.5 < len(theirs) / max(1, len(ours)) < 2:
                continue
            delta = _compare(ours, theirs)
            if delta.size < limit and len(delta.gone) + len(delta.changed) < max(1000, len(ours) // 2):
                best, limit = (name, delta), delta.size
        return best

    def keep(self, tree: Tree) -> None:
        """Remember a tree that was carried, and forget those that weren't used for long."""
        try:
            os.makedirs(self._path, 0o700, exist_ok=True)
            temporary = self._file(f".{tree.name}.{os.getpid()}")
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(tree.listing)
            os.rename(temporary, self._file(tree.name))
            for name in self._names()[_KEPT:]:
                self.forget(name)
        except OSError:
            pass  # then it is carried again

    def used(self, name: str) -> None:
        """It serves still."""
        try:
            os.utime(self._file(name))
        except OSError:
            pass

    def forget(self, name: str) -> None:
        """No node has it any more."""
        try:
            os.unlink(self._file(name))
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


def _parse(listing: bytes) -> Listing:
    fields = listing.split(b"\0")
    return dict(zip(fields[0::3], zip(fields[1::3], fields[2::3], strict=False), strict=False))


def _compare(ours: Listing, theirs: Listing) -> Delta:
    changed = [name for name, facts in ours.items() if theirs.get(name) != facts]
    gone = {name for name in theirs if name not in ours}
    size = sum(int(ours[name][0].split(b" ", 5)[4]) for name in changed if ours[name][0][:1] == b"f")
    # A directory that is gone says all of what was in it. One that is a file now is replaced by the delta.
    tops = {name for name in gone if os.path.dirname(name) not in gone and _is_directory(ours, os.path.dirname(name))}
    return Delta(tuple(sorted({*changed, *_above(changed), *_above(tops)})), tuple(sorted(tops)), size)


def _is_directory(listing: Listing, name: bytes) -> bool:
    return listing.get(name, (b"",))[0][:1] == b"d"


def _above(names: Iterable[bytes]) -> Iterator[bytes]:
    """The directories that the names are in: made anew on the node, they need their modes and times."""
    for name in names:
        while name:
            name = os.path.dirname(name)
            yield name
