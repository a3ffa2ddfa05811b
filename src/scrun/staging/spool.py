"""The spool bundle that lies beside the container's own, where the nodes see it: one small directory, mode 0700."""

from __future__ import annotations

import os

from scrun.errors import StagingError
from scrun.staging import trees
from scrun.staging.model import PROGRAM, Copy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from scrun.staging.model import Container


def short_name(text: str) -> str:
    """A file name of at most 200 characters for a text of any length."""
    if len(text) <= 200:
        return text
    import hashlib

    return text[:160] + hashlib.sha256(text.encode()).hexdigest()[:40]


class Spool:
    """Exists once :meth:`create` has returned a path."""

    def __init__(self, container: Container) -> None:
        self.path = os.path.join(container.bundle, short_name(f".scrun-{container.id}"))
        self.witness = os.path.join(self.path, os.urandom(16).hex())
        self.exists = False
        self._owner = _owner(container)

    def create(self) -> bool:
        """Make it, with a file of a name that nobody else knows; False where the bundle can't be written to."""
        try:
            # One of the same container, of a create that was killed.
            trees.remove(self.path)
            os.mkdir(self.path, 0o700)
        except OSError:
            return False
        self.exists = True
        self.give(self.path)
        self.write(os.path.basename(self.witness), b"")
        return True

    def write(self, name: str, data: bytes, mode: int = 0o600) -> str:
        """Write a file, as the job's user's; returns its path."""
        path = os.path.join(self.path, name)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(data)
            if self._owner:
                os.fchown(descriptor, *self._owner)
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
        return path

    def copy(self, source: str, name: str, data: bytes) -> Copy:
        """Copy a small file of the login host's; ``data`` is to be in it."""
        mode = os.stat(source).st_mode & 0o777
        self._make_above(os.path.join(self.path, name))
        path = self.write(name, data, mode)
        status = os.stat(path)
        return Copy(path, source, status.st_size, status.st_mtime_ns)

    def link(self, name: str, target: str) -> str:
        """Make a symbolic link; returns its path."""
        path = os.path.join(self.path, name)
        self._make_above(path)
        os.symlink(target, path)
        self.give(path)
        return path

    def finish(self, configs: Mapping[str, bytes]) -> None:
        """Write each config.json; the witness has served."""
        os.unlink(self.witness)
        for name, data in configs.items():
            if directory := os.path.dirname(name):
                os.mkdir(os.path.join(self.path, directory), 0o700)
                self.give(os.path.join(self.path, directory))
            self.write(name, data, 0o700 if name == PROGRAM else 0o600)

    def remove(self) -> None:
        """Undo :meth:`create`."""
        if self.exists:
            remove_spool(self.path)
            self.exists = False

    def _make_above(self, path: str) -> None:
        directory = os.path.dirname(path)
        if not os.path.isdir(directory):
            os.mkdir(directory, 0o700)
            self.give(directory)

    def give(self, path: str) -> None:
        """Make it the job's user's."""
        if self._owner:
            os.chown(path, *self._owner, follow_symlinks=False)


def remove_spool(path: str) -> None:
    """Remove a spool; nothing there is fine.

    Raises:
        StagingError: it can't be removed.
    """
    try:
        trees.remove(path)
    except OSError as error:
        raise StagingError(f"{path}: can't be removed: {error.strerror}") from error


def encode(config: dict[str, Any]) -> bytes:
    """config.json's bytes."""
    from scrun import fastjson

    return fastjson.dumps(config).encode()


def _owner(container: Container) -> tuple[int, int] | None:
    """To whom files for the job are given: nobody, unless we are the real root and the job isn't root's."""
    return (container.user_id, container.group_id) if acts_for_another(container.user_id) else None


def acts_for_another(user_id: int) -> bool:
    """Whether we are the machine's root (docker's), working for the job of another user."""
    from scrun.identity import real_uid

    return os.geteuid() == 0 and real_uid() == 0 and user_id != 0
