"""Directory trees as they are known: how one is listed, and what it has to keep for its listing to count.

A tree is known by its listing: of each file its type, mode, owner, size, mtime and link target, and its identity here,
inode and ctime. Nobody can set a ctime: a file whose listing is the same has the same content, so nothing has to be
read, which for 600 MB takes a good part of the time that carrying them does. Files that changed just when they were
listed might change again within the same tick of the clock: they have no identity.
"""

from __future__ import annotations

import hashlib
import os
import time

from scrun.errors import StagingError
from scrun.staging.archive import left_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from scrun.staging.children import Children

    Listing = dict[bytes, tuple[bytes, bytes]]  # by name: what has to be the same on the node, and the identity
else:
    from scrun.named_tuple import NamedTuple

_TICK = 0.02  # seconds; the kernel's clock for files goes by 1 to 10 ms
_LARGE = 1 << 20  # bytes
NOBODY = b"?"  # begins what is no identity
# Of directories neither size nor inode say anything: they are their file system's.
_FORMAT = [
    *("(", "-type", "d", "-printf", r"%P\0d %m %U %G %T@\0%C@\0", ")"),
    *("-o", "-printf", r"%P\0%y %m %U %G %s %T@ %l\0%C@ %i\0"),
]


class Tree(NamedTuple):
    """A listing, its name (a checksum of it), the bytes and files in it, and which files are large, and how large."""

    name: str
    listing: bytes
    size: int
    files: int
    large: tuple[tuple[bytes, int], ...] = ()


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
    sizes = [int(what.split(b" ", 5)[4]) if what[:1] == b"f" else 0 for what in fields[1::3]]
    large = tuple((fields[3 * index], size) for index, size in enumerate(sizes) if size >= _LARGE)
    return Tree(hashlib.sha256(listing).hexdigest()[:40], listing, sum(sizes), len(fields) // 3, large)


def _without_fresh(listing: bytes, limit: float) -> bytes:
    """The listing without the identities of what changed after the time."""
    fields = listing.split(b"\0")
    fresh = [index for index in range(2, len(fields), 3) if float(fields[index].split(b" ")[0]) > limit]
    for index in fresh:
        fields[index] = NOBODY + os.urandom(8).hex().encode()  # which no other listing has
    return b"\0".join(fields) if fresh else listing


def settled(tree: Tree, again: Tree) -> tuple[Tree, list[bytes]]:
    """The tree as it can be kept, by a second listing, and what of it has changed since the first and forbids that.

    A directory that changed by itself (its owner, a mount of podman's) forbids nothing: it goes along with each delta.
    """
    if tree.name == again.name:
        return tree, []
    before, now = parse(tree.listing), parse(again.listing)

    def is_same(name: bytes) -> bool:
        was, is_now = before.get(name), now.get(name)
        if was is None or is_now is None or was[0] != is_now[0]:
            return False
        return was[1] == is_now[1] or was[1].startswith(NOBODY)

    others = sorted(name for name in before.keys() | now.keys() if not is_same(name))
    loose = {name for name in others if is_directory(before, name) and is_directory(now, name)}
    if not loose:
        return tree, others
    fields = tree.listing.split(b"\0")
    for index in range(0, len(fields) - 1, 3):
        if fields[index] in loose:
            fields[index + 2] = NOBODY
    return tree._replace(listing=b"\0".join(fields)), [name for name in others if name not in loose]


def holes(root: str, tree: Tree) -> int:
    """The bytes of a tree's large files that take no room on a disk."""
    found = 0
    for name, size in tree.large:
        try:
            found += max(0, size - 512 * os.lstat(os.path.join(os.fsencode(root), name)).st_blocks)
        except OSError:
            pass  # gone meanwhile
    return found


def parse(listing: bytes) -> Listing:
    """By name, in its order: what has to be the same on a node, and the identity here."""
    fields = listing.split(b"\0")
    return dict(zip(fields[0::3], zip(fields[1::3], fields[2::3], strict=False), strict=False))


def is_directory(listing: Listing, name: bytes) -> bool:
    """Whether the tree has a directory of that name."""
    return listing.get(name, (b"",))[0][:1] == b"d"
