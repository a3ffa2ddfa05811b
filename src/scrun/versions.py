"""Versions of scrun side by side, below PREFIX/lib/scrun: the one that began a container also ends it.

A process that stays with a container imports more at its end, hours later. By then an upgrade may have replaced, or
pip uninstall removed, what it was started from. So the launcher runs a copy, VERSION-HASH, of the package and of what
is imported late, in which nothing is ever changed. Who stays holds the copy's lock
(:mod:`scrun.lifecycle.process.installed`). The next installation removes the copies that nobody holds, but for the one
that was current until then, which a short call may use at that moment.
"""

from __future__ import annotations

import fcntl
import os
import shutil

import scrun
from scrun.lifecycle.process.installed import LOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_LATE = ("lupa", "pyslurm")  # the others are for create's errors, and for the command line


class Versions:
    """The directory of the copies, as a context manager: locked against other installations."""

    def __init__(self, prefix: str) -> None:
        self._path = os.path.join(prefix, "lib", "scrun")
        self._descriptor = -1

    def __enter__(self) -> Versions:
        os.makedirs(self._path, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def add(self) -> str:
        """Copy what this process was imported from, unless it is there; the result is the copy's directory."""
        sources = [*_sources()]
        path = os.path.join(self._path, f"{scrun.__version__}-{_digest(sources)}")
        if os.path.isdir(path) and _digest([os.path.join(path, os.path.basename(one)) for one in sources]) in path:
            return path
        fresh = os.path.join(self._path, f".new-{os.getpid()}")
        shutil.rmtree(fresh, ignore_errors=True)
        umask = os.umask(0o022)
        try:
            os.mkdir(fresh)
            for source in sources:
                shutil.copytree(source, os.path.join(fresh, os.path.basename(source)), ignore=_ignore)
            _compile(fresh)
            with open(os.path.join(fresh, LOCK), "w", encoding="ascii"):
                pass
        finally:
            os.umask(umask)
        shutil.rmtree(path, ignore_errors=True)  # somebody has changed it
        os.rename(fresh, path)
        return path

    def remove_unused(self, but: Collection[str] = ()) -> list[str]:
        """Remove all but these and those that processes use; the result is the latter."""
        used = []
        for name in os.listdir(self._path):
            path = os.path.join(self._path, name)
            if path in but:
                continue
            if _is_used(path):
                used.append(path)
            else:
                shutil.rmtree(path)
        return used

    def remove(self) -> None:
        """Remove the directory, if nothing is in it."""
        try:
            os.rmdir(self._path)
        except OSError:
            pass


def _is_used(path: str) -> bool:
    try:
        descriptor = os.open(os.path.join(path, LOCK), os.O_RDWR)
    except FileNotFoundError:
        return False  # an installation that was interrupted
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or on a file server that can't tell
        return True
    finally:
        os.close(descriptor)
    return False


def _sources() -> Iterator[str]:
    """The directories of the packages, and of the libraries that their wheels bring (NAME.libs)."""
    from importlib.util import find_spec

    yield os.path.dirname(os.path.abspath(scrun.__file__))
    for name in _LATE:
        spec = find_spec(name)
        for path in (spec and spec.submodule_search_locations) or ():
            yield path
            if os.path.isdir(f"{path}.libs"):
                yield f"{path}.libs"


def _files(source: str) -> Iterator[str]:
    for directory, directories, names in os.walk(source):
        directories[:] = sorted({*directories} - _ignore(directory, directories))
        yield from (os.path.join(directory, name) for name in sorted(names))


def _digest(sources: Collection[str]) -> str:
    import hashlib

    digest = hashlib.sha256()
    for source in sources:
        for path in _files(source):
            with open(path, "rb") as file:
                content = file.read()
            digest.update(
                f"{os.path.relpath(path, os.path.dirname(source))}\0{len(content)}\0".encode(errors="replace")
            )
            digest.update(content)
    return digest.hexdigest()[:12]


def _ignore(_directory: str, names: Collection[str]) -> set[str]:
    return {"__pycache__"}.intersection(names)


def _compile(path: str) -> None:
    """Users can't write the compiled modules there; without them each call would take ten times as long."""
    import compileall

    compileall.compile_dir(path, quiet=2)
