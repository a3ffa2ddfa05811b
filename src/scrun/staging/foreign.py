"""Find the files of an image's layers that don't belong to the job's user, because a node shows them as nobody's.

A rootless engine's image has files of subordinate users. In a container on a node only one user is mapped. There the
kernel copies nobody's files up for no change (EOVERFLOW), and a directory that is closed to others can't be entered.
So such files are carried, as a layer of the user's own above the others. Usually they are few. An engine never changes
a layer, so a list of each layer's is kept.
"""

from __future__ import annotations

import os
import stat

from scrun.digest import sha256
from scrun.errors import StagingError
from scrun.staging.layer_identity import is_engines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import NamedTuple

    from scrun.staging.children import Children
    from scrun.staging.layers import Layers
else:
    from scrun.named_tuple import NamedTuple

_MOST = 4000  # files
_LARGEST = 1 << 25  # bytes of all files
_KEPT = 400  # lists
_READABLE = 0o005  # for others, a directory's listing and what is in it
_KINDS = (stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO)
_TYPES = ["(", "-type", "d", "-o", "-type", "f", "-o", "-type", "l", "-o", "-type", "p", ")"]


class Foreign(NamedTuple):
    """Other users' files: ``names`` in the root filesystem, with the directories above them; ``size`` in bytes.

    ``closed`` are directories, all of whose content is among the names, that are to hide what is in the layers.
    """

    names: tuple[bytes, ...] = ()
    closed: tuple[bytes, ...] = ()
    size: int = 0


def find_foreign(
    children: Children, layers: Layers, rootfs: str, owner: tuple[int, int], memory: str
) -> Foreign | None:
    """Find other users' files in a root filesystem.

    Args:
        children: runs find.
        layers: the root filesystem's layers.
        rootfs: where they are mounted.
        owner: the uid and the gid, in this user namespace, of the job's user.
        memory: a directory for the lists of layers; "" to keep none.

    Returns:
        The files; None if they are too many to be carried each time, or a layer can't be read.
    """
    listed = _lists(children, layers.lower, owner, memory)
    if listed is None:
        return None
    root, upper = os.fsencode(rootfs), os.fsencode(layers.upper)
    names: set[bytes] = set()
    closed: set[bytes] = set()
    linked: set[tuple[int, int]] = set()  # inodes with several names, which are carried once
    size = 0

    def bytes_of(status: os.stat_result) -> int:
        inode = status.st_dev, status.st_ino
        if not stat.S_ISREG(status.st_mode) or inode in linked:
            return 0
        if status.st_nlink > 1:
            linked.add(inode)
        return status.st_size

    for name in sorted(set(listed)):  # a directory comes before what is in it
        status = _status(root, name)
        if status is None or (status.st_uid, status.st_gid) == owner or _is_inside(name, closed):
            continue
        if not stat.S_ISDIR(status.st_mode):
            if not os.path.lexists(os.path.join(upper, name)):  # else it is carried with the container's own
                names.add(name)
                size += bytes_of(status)
        else:
            names.add(name)
            if status.st_mode & _READABLE != _READABLE:
                closed.add(name)
                for below, inner in _below(root, name):
                    names.add(below)
                    size += bytes_of(inner)
        if len(names) > _MOST or size > _LARGEST:
            return None
    above = {directory for name in names for directory in _above(name)}
    return Foreign(tuple(sorted((names | above) - closed)), tuple(sorted(closed)), size) if names else Foreign()


def has_files_of(uid: int, directory: str, check: Callable[[], object]) -> bool:
    """Whether something below the directory belongs to that user; mounts are left out, and what can't be read.

    Args:
        uid: the user's id in this user namespace.
        directory: the path.
        check: is called now and then, and may raise.
    """
    left = [directory]
    device = os.lstat(directory).st_dev
    while left:
        check()
        try:
            with os.scandir(left.pop()) as entries:
                statuses = [(entry.path, entry.stat(follow_symlinks=False)) for entry in entries]
        except OSError:
            continue
        if any(status.st_uid == uid for _path, status in statuses):
            return True
        left += [path for path, status in statuses if stat.S_ISDIR(status.st_mode) and status.st_dev == device]
    return False


def _lists(children: Children, lower: Sequence[str], owner: tuple[int, int], memory: str) -> list[bytes] | None:
    """The names of other users' files in all layers; None if a layer can't be read."""
    files = {path: _file(path, owner, memory) for path in lower}
    names: list[bytes] = []
    unknown: list[str] = []
    for path, file in files.items():
        known = _read(file)
        names += known or ()
        if known is None:
            unknown.append(path)
    if not unknown:
        return names
    found = _scan(children, unknown, owner)
    if found is None:
        return None
    for path, inside in found.items():
        _write(memory, files[path], inside)
        names += inside
    return names


def _scan(children: Children, paths: Sequence[str], owner: tuple[int, int]) -> dict[str, list[bytes]] | None:
    import subprocess

    others = ["(", "!", "-uid", str(owner[0]), "-o", "!", "-gid", str(owner[1]), ")"]
    memory = os.memfd_create("scrun")
    try:
        argv = ["find", *paths, "-xdev", *others, *_TYPES, "-printf", r"%H\0%P\0"]
        try:
            child = children.run(argv, stdin=subprocess.DEVNULL, stdout=memory)
        except OSError as error:
            raise StagingError(f"can't look through {paths[0]}: {error.strerror}") from error
        children.wait(lambda: children.has_closed(child))
        if child.process.wait():
            return None
        with open(memory, "rb", closefd=False) as file:
            file.seek(0)
            fields = file.read().split(b"\0")
    finally:
        os.close(memory)
    found: dict[str, list[bytes]] = {path: [] for path in paths}
    for top, name in zip(fields[0::2], fields[1::2], strict=False):
        found[os.fsdecode(top)].append(name)
    return found


def _file(path: str, owner: tuple[int, int], memory: str) -> str:
    """The file for a layer's list; "" if it may change. A path may be used again, so the inode and ctime are in it."""
    if not (memory and is_engines(path)):
        return ""
    status = os.stat(path)
    what = f"{path}\0{status.st_ino} {status.st_ctime_ns} {owner[0]} {owner[1]}"
    return os.path.join(memory, sha256(os.fsencode(what)).hexdigest()[:40])


def _read(path: str) -> list[bytes] | None:
    try:
        with open(path, "rb") as file:
            return file.read().split(b"\0")[:-1]
    except OSError:
        return None


def _write(memory: str, path: str, names: list[bytes]) -> None:
    if not path:
        return
    temporary = f"{path}.{os.getpid()}"
    try:
        os.makedirs(memory, 0o700, exist_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(b"".join(name + b"\0" for name in names))
        os.rename(temporary, path)
        kept = os.listdir(memory)
        if len(kept) > _KEPT:
            for name in kept[: len(kept) - _KEPT]:
                os.unlink(os.path.join(memory, name))
    except OSError:
        pass  # the next container looks again


def _status(root: bytes, name: bytes) -> os.stat_result | None:
    """The status of a file below the root; None if there is none, or a link on the way, which may lead anywhere."""
    try:
        for directory in _above(name):
            if not stat.S_ISDIR(os.lstat(os.path.join(root, directory)).st_mode):
                return None
        status = os.lstat(os.path.join(root, name))
    except OSError:
        return None
    return status if stat.S_IFMT(status.st_mode) in _KINDS else None


def _below(root: bytes, name: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    with os.scandir(os.path.join(root, name)) as entries:
        children = [(os.path.join(name, entry.name), entry.stat(follow_symlinks=False)) for entry in entries]
    for path, status in children:
        if stat.S_IFMT(status.st_mode) in _KINDS:
            yield path, status
        if stat.S_ISDIR(status.st_mode):
            yield from _below(root, path)


def _is_inside(name: bytes, tops: Iterable[bytes]) -> bool:
    return any(name.startswith(top + b"/") for top in tops)


def _above(name: bytes) -> Iterator[bytes]:
    """The directories above a name, the root filesystem's own (b"") among them."""
    while name:
        name = os.path.dirname(name)
        yield name
