"""Versions of scrun side by side, below PREFIX/lib/scrun: the version that began a container also ends it.

A resident process imports more modules at its container's end, hours later. By then an upgrade may have replaced the
package, or pip may have removed it. So the launcher runs a copy of the package and of the libraries that are imported
late. The copy is called VERSION-HASH and is never changed. A resident process holds the copy's lock
(:mod:`scrun.lifecycle.process.installed`). The next installation removes the copies that nobody holds. It keeps the one
that was current until then, because a short call may be using it.

A distribution's package has the files to copy in PREFIX/lib/scrun/dist, because an upgrade removes the package's own
files.
"""

from __future__ import annotations

import fcntl
import os
import shutil

import scrun
from scrun import precompiled
from scrun.installation.compiling import compile_copy
from scrun.lifecycle.process.installed import LOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

DIST = "dist"
_INSTALLING = ".installing"  # the lock of an installation, which nobody else can open
_CURRENT = "current"  # a link to the copy that the launcher runs
_FRESH = ".new-"
_LATE = ("lupa", "pyslurm")  # the other libraries are only for create's errors and for the command line


def directory(prefix: str) -> str:
    """The directory of the copies."""
    return os.path.join(prefix, "lib", "scrun")


def sources(prefix: str) -> list[str]:
    """The directories to copy: a distribution's package's for this prefix, or those that this process runs from."""
    dist = os.path.join(directory(prefix), DIST)
    if os.path.isdir(dist):
        return sorted(entry.path for entry in os.scandir(dist) if entry.is_dir() and entry.name != "__pycache__")
    return running()


def name(sources: Sequence[str]) -> str:
    """The name of a copy of these directories: VERSION-HASH."""
    return f"{scrun.__version__}-{_digest(sources)}"


def copy(sources: Sequence[str], path: str) -> None:
    """Copy the directories into a new directory.

    Raises:
        OSError: a file can't be read or written.
    """
    os.makedirs(path)
    for source in sources:
        shutil.copytree(source, os.path.join(path, os.path.basename(source)), ignore=_ignore)


class Versions:
    """The directory of the copies; a context manager that locks it against other installations."""

    def __init__(self, prefix: str) -> None:
        self._path = directory(prefix)
        self._descriptor = -1

    def __enter__(self) -> Versions:
        # Not the directory's lock, nor a copy's: whoever can read a file can hold its lock for ever.
        path = os.path.join(self._path, _INSTALLING)
        while not self._is_at(path):
            self.__exit__()
            os.makedirs(self._path, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        return self

    def _is_at(self, path: str) -> bool:
        """Whether we hold the file of that path, which an uninstallation may have removed while we waited."""
        try:
            return self._descriptor >= 0 and os.path.samestat(os.stat(path), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def add(self, sources: Sequence[str]) -> str:
        """Copy the directories, unless there is such a copy; return the copy's directory."""
        path = os.path.join(self._path, name(sources))
        copied = [os.path.join(path, os.path.basename(source)) for source in sources]
        if os.path.isdir(path) and name(copied) == os.path.basename(path):
            if not precompiled.fits(path):  # it was compiled by another Python
                compile_copy(path, path)
            return path
        fresh = os.path.join(self._path, f"{_FRESH}{os.getpid()}")
        shutil.rmtree(fresh, ignore_errors=True)
        copy(sources, fresh)
        compile_copy(fresh, path)
        with open(os.path.join(fresh, LOCK), "w", encoding="utf-8"):
            pass
        shutil.rmtree(path, ignore_errors=True)  # it was changed, or isn't complete
        os.rename(fresh, path)
        return path

    def make_current(self, path: str) -> str:
        """Set the link to the copy that the launcher runs; return the copy that it ran before, or an empty text."""
        link, before = os.path.join(self._path, _CURRENT), ""
        if os.path.islink(link):
            before = os.path.join(self._path, os.readlink(link))
            os.unlink(link)
        os.symlink(os.path.basename(path), link)
        return before

    def remove_unused(self, but: Collection[str] = ()) -> list[str]:
        """Remove all copies but ``but`` and those that processes use; return those that processes use."""
        used = []
        for entry in [*os.scandir(self._path)]:
            if entry.path in but or not _is_copy(entry):
                continue
            if _is_used(entry.path):
                used.append(entry.path)
            else:
                shutil.rmtree(entry.path)
        return used

    def remove(self) -> None:
        """Remove the directory, if no copy is left in it."""
        for name in (_CURRENT, _INSTALLING):
            try:
                os.unlink(os.path.join(self._path, name))
            except FileNotFoundError:
                pass
        try:
            os.rmdir(self._path)
        except OSError:
            pass


def _is_copy(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False) and (
        entry.name.startswith(_FRESH) or os.path.exists(os.path.join(entry.path, LOCK))
    )


def _is_used(path: str) -> bool:
    """Whether a process holds the copy: by the lock's file, which it has open, and by its lock on other hosts.

    Somebody else's exclusive lock may have kept it from locking the file, but not from opening it.
    """
    try:
        descriptor = os.open(os.path.join(path, LOCK), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False  # an installation that was interrupted
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _is_open_elsewhere(os.path.join(os.path.basename(path), LOCK), os.fstat(descriptor))
    except OSError:  # a process holds it, or the file server has no locks
        return True
    finally:
        os.close(descriptor)


def _is_open_elsewhere(name: str, lock: os.stat_result) -> bool:
    """Whether another process of this host has the file open, as far as we may look (proc_pid_fd(5)).

    Other names are not looked at closer: the file that such a link leads to may be on a server that doesn't answer.

    Args:
        name: the end of its path.
        lock: what stat(2) says of it.
    """
    for process in filter(str.isdigit, os.listdir("/proc")):
        if process == str(os.getpid()):
            continue
        try:
            descriptors = os.listdir(f"/proc/{process}/fd")
        except OSError:
            continue  # another user's, or ended
        for descriptor in descriptors:
            try:
                opened = f"/proc/{process}/fd/{descriptor}"
                if os.readlink(opened).endswith(f"/{name}") and os.path.samestat(os.stat(opened), lock):
                    return True
            except OSError:
                pass  # closed meanwhile
    return False


def running() -> list[str]:
    """The directories that this process runs from: scrun, late libraries, and their wheels' libraries (NAME.libs)."""
    from importlib.util import find_spec

    directories = [os.path.dirname(os.path.abspath(scrun.__file__))]
    for name in _LATE:
        spec = find_spec(name)
        for path in (spec and spec.submodule_search_locations) or ():
            directories += [one for one in (path, f"{path}.libs") if os.path.isdir(one)]
    return directories


def _files(source: str) -> Iterator[str]:
    for directory, directories, names in os.walk(source):
        directories[:] = sorted({*directories} - _ignore(directory, directories))
        yield from (os.path.join(directory, name) for name in sorted({*names} - _ignore(directory, names)))


def _digest(sources: Collection[str]) -> str:
    import hashlib

    digest = hashlib.sha256()
    for source in sorted(sources, key=os.path.basename):
        for path in _files(source):
            with open(path, "rb") as file:
                content = file.read()
            digest.update(
                f"{os.path.relpath(path, os.path.dirname(source))}\0{len(content)}\0".encode(errors="replace")
            )
            digest.update(content)
    return digest.hexdigest()[:12]


def _ignore(_directory: str, names: Collection[str]) -> set[str]:
    """Names that aren't copied: caches, and files for compilers only, which are 35 of pyslurm's 41 MB."""
    return {name for name in names if name == "__pycache__" or name.endswith((".c", ".h", ".pxd", ".pxi", ".pyx"))}
