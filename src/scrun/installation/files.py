"""The files that an installation writes. A file that somebody else has written or changed is never overwritten.

PREFIX/lib/scrun/written.sha256 lists the written files with their checksums, in a form for ``sha256sum -c``.
PREFIX/lib/scrun/shared lists the other programs' files into which scrun has written.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from scrun.errors import InstallationError
from scrun.installation import launcher, versions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

LIST, SHARED_LIST = "written.sha256", "shared"
# Whose a file is.
OURS = "ours"  # scrun's; no other file may be at this path
SITES = "the site's"  # the site may change it; a changed file stays
SHARED = "shared"  # another program's, and scrun's content is merged into it

# What an installation does with a file; see Written.fate.
NEW, SAME, REPLACED, KEPT, LACKING = "new", "same", "replaced", "kept", "lacking"


class File(NamedTuple):
    """A file to write."""

    path: str
    content: bytes
    mode: int = 0o644
    owner: str = OURS


def digest(content: bytes) -> str:
    """The SHA-256 checksum in hexadecimal, as sha256sum(1) prints it."""
    import hashlib

    return hashlib.sha256(content).hexdigest()


def content_of(path: str) -> bytes | None:
    """The content of a file; None if there is no file.

    Raises:
        OSError: the file can't be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


class Written:
    """The list of the files that scrun has written for one prefix, with their checksums."""

    def __init__(self, prefix: str) -> None:
        self._path, self._shared_path = (os.path.join(versions.directory(prefix), name) for name in (LIST, SHARED_LIST))
        pairs = (line.split("  ", 1) for line in _lines(self._path) if "  " in line)
        self._digests: dict[str, set[str]] = {}  # several where an installation was interrupted
        for checksum, path in pairs:
            self._digests.setdefault(path, set()).add(checksum)
        self._shared = {*_lines(self._shared_path)}

    def paths(self) -> list[str]:
        """The paths of the files that were written."""
        return sorted(self._digests)

    def is_shared(self, path: str) -> bool:
        """Whether scrun has written into this file of another program."""
        return path in self._shared

    def is_unchanged(self, path: str) -> bool:
        """Whether the file is as scrun wrote it."""
        content = content_of(path)
        return content is not None and digest(content) in self._digests.get(path, ())

    def fate(self, file: File) -> str:
        """Tell what an installation does with a file, without writing it.

        Returns:
            NEW: it is written. SAME: it is there already. REPLACED: scrun's older file is replaced. KEPT: the site's
            changed file stays. LACKING: the site's file isn't there, and this user can't write it.

        Raises:
            InstallationError: another file is there that scrun must not replace, or the file can't be written.
            OSError: the file that is there can't be read.
        """
        fate = self._fate(file)
        if fate not in (NEW, REPLACED) or not (closed := _closed(file.path)):
            return fate
        if file.owner == SITES:
            return LACKING if fate == NEW else KEPT
        raise InstallationError(
            f"can't write in {closed}: nothing was installed: become root, or name a --prefix of your own"
        )

    def _fate(self, file: File) -> str:
        there = content_of(file.path)
        if there is None:
            return NEW
        if there == file.content and not (file.owner == OURS and os.path.islink(file.path)):
            return SAME
        if file.owner == SHARED or digest(there) in self._digests.get(file.path, ()):
            return REPLACED
        if file.owner == SITES:
            return KEPT
        if file.path not in self._digests and launcher.MARK in there:
            return REPLACED  # pip's script
        raise InstallationError(
            f"{file.path} exists, and isn't scrun's or was changed: nothing was installed: move it away, "
            "or choose another --prefix"
        )

    def announce(self, files: Mapping[File, str]) -> None:
        """Add the files that are about to be written to the list, beside what they replace.

        So an installation that is killed between two files leaves none that the next one takes for somebody else's.

        Raises:
            OSError: the list can't be written.
        """
        for file, fate in files.items():
            if file.owner != SHARED and fate in (NEW, REPLACED):
                self._digests.setdefault(file.path, set()).add(digest(file.content))
        self._save_digests()

    def note(self, files: Mapping[File, str]) -> None:
        """Add the files that were written to the lists, by the files' fates.

        Raises:
            OSError: the lists can't be written.
        """
        for file, fate in files.items():
            # A scrun.lua that is there may be another installation's, and a runtime may have been written by hand.
            if file.owner == OURS or (file.owner == SITES and fate in (NEW, REPLACED)):
                self._digests[file.path] = {digest(file.content)}
            elif file.owner == SHARED and fate in (NEW, REPLACED):
                self._shared.add(file.path)
        self._save_digests()
        _save(self._shared_path, sorted(self._shared))

    def _save_digests(self) -> None:
        lines = [f"{checksum}  {path}" for path, sums in sorted(self._digests.items()) for checksum in sorted(sums)]
        _save(self._path, lines)

    def forget(self) -> None:
        """Remove the lists, because the files have been removed.

        Raises:
            OSError: the lists can't be removed.
        """
        self._digests, self._shared = {}, set()
        self.note({})


def _closed(path: str) -> str:
    """The nearest existing directory above the file, if this user can't write in it; otherwise empty."""
    directory = os.path.dirname(path)
    while not os.path.exists(directory):
        directory = os.path.dirname(directory)
    return "" if os.access(directory, os.W_OK | os.X_OK) else directory


def _lines(path: str) -> list[str]:
    return (content_of(path) or b"").decode(errors="surrogateescape").splitlines()


def _save(path: str, lines: Collection[str]) -> None:
    if lines:
        write(File(path, "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")))
    elif os.path.exists(path):
        os.unlink(path)


def write(file: File, below: str = "") -> None:
    """Replace a file in one step; make its directories.

    Args:
        file: the file.
        below: a directory that takes the place of /, for packages; empty for / itself.

    Raises:
        OSError: the file can't be written.
    """
    path = below + file.path
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if file.owner != OURS:
        path = os.path.realpath(path)  # a site may have put a link there
    fresh = f"{path}.{os.getpid()}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as opened:
            opened.write(file.content)
            os.fchmod(descriptor, file.mode)
        os.rename(fresh, path)
    except OSError:
        os.unlink(fresh)
        raise
