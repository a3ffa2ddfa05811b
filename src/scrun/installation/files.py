"""Files that an installation writes: never over what somebody else has written, or has changed since.

What was written is listed with its checksum in PREFIX/lib/scrun/written.sha256, which ``sha256sum -c`` reads too. The
files of others that something was written into are listed in PREFIX/lib/scrun/shared.
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
OURS = "ours"  # nothing else may be there
SITES = "the site's"  # theirs to change: one that was changed stays
SHARED = "shared"  # others have their part in it, and its content has been merged with theirs

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
    """The content of a file; None where there is none.

    Raises:
        OSError: it can't be read.
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
        self._digests = {path: checksum for checksum, path in pairs}
        self._shared = {*_lines(self._shared_path)}

    def paths(self) -> list[str]:
        """The files that were written."""
        return sorted(self._digests)

    def is_shared(self, path: str) -> bool:
        """Whether something was written into that file of others."""
        return path in self._shared

    def is_unchanged(self, path: str) -> bool:
        """Whether the file is there just as it was written."""
        content = content_of(path)
        return content is not None and self._digests.get(path) == digest(content)

    def fate(self, file: File) -> str:
        """What writing the file would do: it is NEW, the SAME, REPLACED, an older one is KEPT, or it stays LACKING.

        Raises:
            InstallationError: something else is there, which isn't scrun's to replace, or it can't be written.
            OSError: what is there can't be read.
        """
        fate = self._fate(file)
        if fate not in (NEW, REPLACED) or not (closed := _closed(file.path)):
            return fate
        if file.owner == SITES:
            return LACKING if fate == NEW else KEPT
        raise InstallationError(
            f"{closed} can't be written: nothing was installed: become root, or name a --prefix of your own"
        )

    def _fate(self, file: File) -> str:
        there = content_of(file.path)
        if there is None:
            return NEW
        if there == file.content and not (file.owner == OURS and os.path.islink(file.path)):
            return SAME
        if file.owner == SHARED or self._digests.get(file.path) == digest(there):
            return REPLACED
        if file.owner == SITES:
            return KEPT
        if file.path not in self._digests and launcher.MARK in there:
            return REPLACED  # pip's script
        raise InstallationError(
            f"{file.path} is there, and is not scrun's or was changed: nothing was installed: move it away, "
            "or choose another --prefix"
        )

    def note(self, files: Mapping[File, str]) -> None:
        """Remember that these were written, of which each had that fate.

        Raises:
            OSError: the lists can't be written.
        """
        for file, fate in files.items():
            # Hooks that are there may be another installation's, and a runtime may have been written by hand.
            if file.owner == OURS or (file.owner == SITES and fate in (NEW, REPLACED)):
                self._digests[file.path] = digest(file.content)
            elif file.owner == SHARED and fate in (NEW, REPLACED):
                self._shared.add(file.path)
        _save(self._path, [f"{checksum}  {path}" for path, checksum in sorted(self._digests.items())])
        _save(self._shared_path, sorted(self._shared))

    def forget(self) -> None:
        """Remove the lists, when what was written has been removed.

        Raises:
            OSError: they can't be removed.
        """
        self._digests, self._shared = {}, set()
        self.note({})


def _closed(path: str) -> str:
    """The directory that the file, or the directories above it, would have to be made in, if this user may not."""
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
    """Write a file as a whole, below another root if one is named; its directories are made.

    Raises:
        OSError: it can't be written.
    """
    path = below + file.path
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if file.owner != OURS:
        path = os.path.realpath(path)  # where a site has linked it to
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
