"""List directory trees, so that a later listing shows which files have changed.

A listing has each file's type, mode, owner, size, mtime and link target, and its identity on this host: inode and
ctime. Nobody can set a ctime, so a file with the same entry has the same content and need not be read. Reading 600 MB
takes a good part of the time that carrying them takes. A file that changed just before it was listed has no identity,
because it might change again within the same tick of the clock.
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

    Listing = dict[bytes, tuple[bytes, bytes]]  # by name: the facts that a node's file must share, and the identity
else:
    from scrun.named_tuple import NamedTuple

_TICK = 0.02  # seconds; the kernel's clock for files goes by 1 to 10 ms
_LARGE = 1 << 20  # bytes
NOBODY = b"?"  # the beginning of an entry's identity field where the file has none
# Size and inode of a directory are left out, because they depend on the file system alone.
_FORMAT = [
    *("(", "-type", "d", "-printf", r"%P\0d %m %U %G %T@\0%C@\0", ")"),
    *("-o", "-printf", r"%P\0%y %m %U %G %s %T@ %l\0%C@ %i\0"),
]


class ListedTree(NamedTuple):
    """A tree's name (its listing's checksum), its listing, its bytes and files, and its large files with sizes."""

    name: str
    listing: bytes
    size: int
    files: int
    large: tuple[tuple[bytes, int], ...] = ()


class Delta(NamedTuple):
    """The difference between a tree and a carried one.

    ``changed`` are names to send, with the directories above them; ``gone`` are removed names; ``size`` is the number
    of bytes to send.
    """

    changed: tuple[bytes, ...] = ()
    gone: tuple[bytes, ...] = ()
    size: int = 0


def scan(children: Children, root: str, *, devices: bool, tick: float = _TICK) -> ListedTree:
    """List a directory, with or without device nodes; ``tick`` is the clock's tick in seconds.

    Raises:
        StagingError: the directory can't be read.
    """
    begun = time.time()
    memory = os.memfd_create("scrun")
    try:
        import subprocess

        argv = ["find", ".", "-xdev", "(", *left_out(devices=devices), ")", "-o", *_FORMAT]
        try:
            child = children.run(argv, stdin=subprocess.DEVNULL, stdout=memory, cwd=root)
        except OSError as error:
            raise StagingError(f"can't read {root}: {error.strerror}") from error
        children.wait(lambda: children.has_closed(child))
        child.process.wait()  # 1 if a directory can't be read; tar tells it
        with open(memory, "rb", closefd=False) as file:
            file.seek(0)
            listing = file.read()
    finally:
        os.close(memory)
    return _tree(_without_fresh(listing, begun - tick))


def _tree(listing: bytes) -> ListedTree:
    fields = listing.split(b"\0")
    sizes = [int(what.split(b" ", 5)[4]) if what[:1] == b"f" else 0 for what in fields[1::3]]
    large = tuple((fields[3 * index], size) for index, size in enumerate(sizes) if size >= _LARGE)
    return ListedTree(hashlib.sha256(listing).hexdigest()[:40], listing, sum(sizes), len(fields) // 3, large)


def _without_fresh(listing: bytes, limit: float) -> bytes:
    """The listing without identities of files that changed after ``limit`` (seconds since 1970)."""
    fields = listing.split(b"\0")
    fresh = [index for index in range(2, len(fields), 3) if float(fields[index].split(b" ")[0]) > limit]
    for index in fresh:
        fields[index] = NOBODY + os.urandom(8).hex().encode()  # no other listing has the same
    return b"\0".join(fields) if fresh else listing


def settled(tree: ListedTree, again: ListedTree) -> tuple[ListedTree, list[bytes]]:
    """Compare a tree with a second listing that was taken after it was carried.

    Returns:
        The tree to remember, and the names that changed; with any such name the tree can't be remembered. A directory
        whose own facts changed (its owner, a mount of podman's) isn't among them, but is sent with each delta.
    """
    if tree.name == again.name:
        return tree, []
    before, now = parse_listing(tree.listing), parse_listing(again.listing)

    def is_same(name: bytes) -> bool:
        was, is_now = before.get(name), now.get(name)
        if was is None or is_now is None or was[0] != is_now[0]:
            return False
        return was[1] == is_now[1] or was[1].startswith(NOBODY)

    others = sorted(name for name in before.keys() | now.keys() if not is_same(name))
    loose = {name for name in others if has_directory(before, name) and has_directory(now, name)}
    if not loose:
        return tree, others
    fields = tree.listing.split(b"\0")
    for index in range(0, len(fields) - 1, 3):
        if fields[index] in loose:
            fields[index + 2] = NOBODY
    return tree._replace(listing=b"\0".join(fields)), [name for name in others if name not in loose]


def holes(root: str, tree: ListedTree) -> int:
    """The bytes in holes of a tree's large files, which take no space on a disk."""
    size_of_holes = 0
    for name, size in tree.large:
        try:
            size_of_holes += max(0, size - 512 * os.lstat(os.path.join(os.fsencode(root), name)).st_blocks)
        except OSError:
            pass  # removed meanwhile
    return size_of_holes


def parse_listing(listing: bytes) -> Listing:
    """Parse a listing, in its order: for each name the facts that a node's file must share, and the identity here."""
    fields = listing.split(b"\0")
    return dict(zip(fields[0::3], zip(fields[1::3], fields[2::3], strict=False), strict=False))


def has_directory(listing: Listing, name: bytes) -> bool:
    """Whether the tree has a directory of that name."""
    return listing.get(name, (b"",))[0][:1] == b"d"
