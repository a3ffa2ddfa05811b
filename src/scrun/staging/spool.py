"""The spool: a small bundle for the job in the container's own bundle, if the nodes see that. Its mode is 0700."""

from __future__ import annotations

import os

from scrun.errors import StagingError
from scrun.identity import is_machines_root
from scrun.staging import trees
from scrun.staging.model import EXECUTABLE, Copy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrun.oci import Config
    from scrun.staging.model import ContainerFiles


def short_name(text: str) -> str:
    """A file name of at most 200 characters for a text of any length; a checksum replaces the end of a long text."""
    if len(text) <= 200:
        return text
    from scrun.digest import sha256

    return text[:160] + sha256(text.encode()).hexdigest()[:40]


class Spool:
    """A spool bundle; it exists after :meth:`create` has returned True."""

    def __init__(self, container: ContainerFiles) -> None:
        self.path = os.path.join(container.bundle, short_name(f".scrun-{container.id}"))
        self.witness = os.path.join(self.path, os.urandom(16).hex())
        self.exists = False
        self._owner = _owner(container)

    def create(self) -> bool:
        """Make the spool with a file of a random name (the witness); False if the bundle can't be written to."""
        try:
            # Remove the spool that a killed create of the same container has left.
            trees.remove_tree(self.path)
            os.mkdir(self.path, 0o700)
        except OSError:
            return False
        self.exists = True
        self.give(self.path)
        self.write(os.path.basename(self.witness), b"")
        return True

    def write(self, name: str, data: bytes, mode: int = 0o600) -> str:
        """Write a file that belongs to the job's user; return its path."""
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
        """Make a copy of a small file of the login host, with its mode and with the content ``data``."""
        mode = os.stat(source).st_mode & 0o777
        self._make_above(os.path.join(self.path, name))
        path = self.write(name, data, mode)
        status = os.stat(path)
        return Copy(path, source, status.st_size, status.st_mtime_ns)

    def link(self, name: str, target: str) -> str:
        """Make a symbolic link; return its path."""
        path = os.path.join(self.path, name)
        self._make_above(path)
        os.symlink(target, path)
        self.give(path)
        return path

    def finish(self, configs: Mapping[str, bytes]) -> None:
        """Write the config.json files and their companions by name, and remove the witness."""
        os.unlink(self.witness)
        for name, data in configs.items():
            if directory := os.path.dirname(name):
                os.mkdir(os.path.join(self.path, directory), 0o700)
                self.give(os.path.join(self.path, directory))
            self.write(name, data, 0o700 if name in EXECUTABLE else 0o600)

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
        """Give a file to the job's user."""
        if self._owner:
            os.chown(path, *self._owner, follow_symlinks=False)


def remove_spool(path: str) -> None:
    """Remove a spool; a missing one is no error.

    Raises:
        StagingError: the spool can't be removed.
    """
    try:
        trees.remove_tree(path)
    except OSError as error:
        raise StagingError(f"can't remove {path}: {error.strerror}") from error


def encode(config: Config) -> bytes:
    """A config as the bytes of config.json."""
    from scrun import fastjson

    return fastjson.dumps(config).encode()


def _owner(container: ContainerFiles) -> tuple[int, int] | None:
    """The owner of files for the job; None to keep the caller's, unless root works for another user's job."""
    return (container.user_id, container.group_id) if acts_for_another(container.user_id) else None


def acts_for_another(user_id: int) -> bool:
    """Whether the caller is the machine's root, as under docker, and the job is another user's."""
    return user_id != 0 and is_machines_root()
