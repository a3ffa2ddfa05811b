"""A container's directory under ``--root``: the claim on its id, its state, what lies beside it.

::

    ROOT/ID/             0700, locked (flock) as long as create, the stand-in or the anchor lives
        state.json       the record, replaced as a whole by rename
        job              the job's id, by who was given it; the anchor's record has it a moment later
        anchor.sock      where the anchor takes requests
        anchor.log       what the anchor and its workers have to say
        config.json      the config, where create got it by a pipe and not from a file
        scrun.lua        the site's script as it was loaded, for an end at which there is none any more
        spool/           the hooks' spool_dir (scrun(1), scrun.lua)
        back             its files are back, and only the nodes' are still to be removed
        paid             nothing is owed for it any more, whatever its record says: there was no room to write that
        deleted          it was deleted, and goes when its files are back; only list and delete know it

What the record says is a hint: :func:`Container.status` asks the process that it names.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from scrun import fastjson, front, identity, small_file
from scrun.errors import ContainerExists, ContainerNotFound, DamagedRecord, InvalidId, ScrunError
from scrun.lifecycle.container import record as records
from scrun.lifecycle.container import status
from scrun.lifecycle.process import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from scrun.lifecycle.container.record import Record

STATE, JOB, SOCKET, LOG, SPOOL = "state.json", "job", "anchor.sock", "anchor.log", "spool"
NODE_SOCKET = "node.sock"
CONFIG, SCRIPT = "config.json", "scrun.lua"  # copies
BACK, DELETED, PAID = "back", "deleted", "paid"
_ROOT = (0, 65534)  # the machine's root, and as whom a user namespace that has it not shows it


class Container:
    """One container's directory, held open, and the record read from it."""

    def __init__(self, root: str, container_id: str, descriptor: int) -> None:
        self.id = container_id
        self.path = os.path.join(root, container_id)
        self.descriptor = descriptor
        self.record: Record = {}  # type: ignore[typeddict-item]  # until it is loaded, or the anchor has the plan
        self.is_removed = False  # as far as this process knows

    @classmethod
    def claim(cls, root: str, container_id: str) -> Self:
        """Make the directory of a new container, and lock it.

        A directory that a killed create left behind half made (no state, nobody holding it) is taken over.

        Raises:
            InvalidId, ContainerExists: as they say.
            ScrunError: ``root`` can't be made or written.
        """
        if not identity.is_valid_id(container_id):
            raise InvalidId(container_id)
        path = os.path.join(root, container_id)
        _make_root(root)
        while True:
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:
                _drop_if_half_made(root, container_id)
                continue
            except OSError as error:
                advice = (
                    "choose a shorter id"
                    if error.errno == errno.ENAMETOOLONG
                    else "name a directory of yours with --root"
                )
                raise ScrunError(f"can't make {path}: {error.strerror}: {advice}") from error
            try:
                claimed = cls(root, container_id, _open_directory(path))
            except FileNotFoundError:
                continue
            if claimed.lock(wait=False) and claimed.is_in_place():
                return claimed
            os.close(claimed.descriptor)  # another create took it for half made in this instant

    @classmethod
    def open(
        cls, root: str, container_id: str, *, load: bool = True, deleted: bool = False, anybodys: bool = False
    ) -> Self:
        """An existing container, with its record unless that isn't wanted yet; a deleted one only where ``deleted``.

        Another user's is only looked at (``anybodys``): its record names programs that we would run.

        Raises:
            InvalidId, ContainerNotFound: as they say.
            ScrunError: another user's, or its state can't be read.
        """
        if not identity.is_valid_id(container_id):
            raise InvalidId(container_id)
        path = os.path.join(root, container_id)
        try:
            held = front.directory()
            found = cls(root, container_id, held if held >= 0 else _open_directory(path))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
                raise ContainerNotFound(container_id) from None
            raise ScrunError(f"can't open container {container_id!r} in {root}: {error.strerror}") from error
        owner = os.fstat(found.descriptor).st_uid
        if owner != os.geteuid() and not anybodys:
            os.close(found.descriptor)
            raise ScrunError(f"container {container_id!r} in {root} is user {owner}'s: do this as that user")
        if load:
            found.load()
            if not deleted and found.is_marked(DELETED):
                raise ContainerNotFound(container_id)
        return found

    def load(self) -> None:
        """Read the record anew.

        Raises:
            ContainerNotFound: there is none: the container is only being made, or was removed meanwhile.
            DamagedRecord: it can't be read.
        """
        try:
            record = fastjson.loads(small_file.read(STATE, dir_fd=self.descriptor, follow=False).decode())
        except FileNotFoundError:
            raise ContainerNotFound(self.id) from None
        except RecursionError:
            raise DamagedRecord(self.id, f"{self.path}/{STATE}", "it is nested too deeply") from None
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise DamagedRecord(self.id, f"{self.path}/{STATE}", why) from error
        if why := records.fault(record):
            raise DamagedRecord(self.id, f"{self.path}/{STATE}", why)
        self.record = record

    def save(self) -> None:
        """Replace the record on disk by this one, as a whole (rename(2)); a directory that was removed has none."""
        if self.is_removed:
            return
        fresh = f"{STATE}.{os.getpid()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with open(os.open(fresh, flags, 0o600, dir_fd=self.descriptor), "w", encoding="utf-8") as file:
            file.write(fastjson.dumps(self.record) + "\n")
        os.rename(fresh, STATE, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def status(self) -> str:
        """The status as it is, not only as it was written: without its stand-in a container is stopped."""
        written: str = self.record["status"]
        if written == status.STOPPED or self.has_process():
            return written
        return status.STOPPED

    def phase(self) -> str:
        """The status for who would begin something in the container: :data:`status.ENDING` where it was killed."""
        now = self.status()
        return status.ENDING if self.record.get("ending") and now != status.STOPPED else now

    def has_process(self) -> bool:
        """Whether the process of the pid file still runs."""
        return processes.is_alive(self.record["pid"], self.record["pid_started"])

    def lock(self, *, wait: bool) -> bool:
        """Take the directory's lock: nobody else works on the container then."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True

    def keep(self, name: str, data: bytes) -> str:
        """Keep a copy of a file that may not be there later; return the copy's path.

        Raises:
            OSError: it can't be written.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(name, flags, 0o600, dir_fd=self.descriptor), "wb") as file:
            file.write(data)
        return os.path.abspath(os.path.join(self.path, name))

    def mark(self, name: str) -> None:
        """Make one of the empty files: what has to be known to processes that don't see the anchor's record."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            os.close(os.open(name, flags, 0o600, dir_fd=self.descriptor))
        except OSError:
            pass  # a full disk, or its directory has just gone

    def is_marked(self, name: str) -> bool:
        """Whether that file is there."""
        return os.access(name, os.F_OK, dir_fd=self.descriptor)

    def is_in_place(self) -> bool:
        """Whether the open directory is still the one at its path, and wasn't removed or replaced."""
        try:
            there = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self.descriptor))

    def child(self, name: str) -> str:
        """A path below the directory by its descriptor: short enough for a socket, whatever ``--root`` is (unix(7))."""
        return f"/proc/self/fd/{self.descriptor}/{name}"

    def remove(self) -> None:
        """Remove the directory and all below it; what isn't there any more is no error."""
        self.is_removed = True
        _empty(self.descriptor)
        try:
            if self.is_in_place():  # and not another one of that id, made meanwhile
                os.rmdir(self.path)
        except FileNotFoundError:
            pass


def _make_root(root: str) -> None:
    """Make the directory of a user's containers, and those above it, unless they are there.

    Raises:
        ScrunError: it can't be made, or others can put something else in a container's place.
    """
    try:
        if not os.path.isdir(root):
            _make_directory(root, 0o700)
        facts = os.stat(root)
    except OSError as error:
        raise ScrunError(f"can't make {root}: {error.strerror}: name a directory of yours with --root") from error
    if facts.st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH or facts.st_uid not in (os.geteuid(), *_ROOT):
        raise ScrunError(f"{root}: others can change what is in it: name a directory of yours with --root")


def _make_directory(path: str, mode: int) -> None:
    try:
        os.mkdir(path, mode)
    except FileNotFoundError:
        _make_directory(os.path.dirname(path), 0o755)
        os.mkdir(path, mode)
    except FileExistsError:
        pass  # another create's


def _open_directory(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _drop_if_half_made(root: str, container_id: str) -> None:
    """Remove a directory that has no state and that nobody holds.

    Raises:
        ContainerExists: it is a container, or is being made one.
    """
    path = os.path.join(root, container_id)
    try:
        left = Container(root, container_id, _open_directory(path))
    except FileNotFoundError:
        return
    except OSError as error:
        raise ScrunError(f"can't use {path}: {error.strerror}") from error
    try:
        if os.access(STATE, os.F_OK, dir_fd=left.descriptor) or not left.lock(wait=False):
            raise ContainerExists(container_id)
        if left.is_in_place():
            left.remove()
    finally:
        os.close(left.descriptor)


def _empty(directory: int) -> None:
    """Remove everything below an open directory, following no symlink and entering no other file system."""
    device = os.fstat(directory).st_dev
    os.fchmod(directory, 0o700)  # ours to remove, whatever a hook script made of it
    for name in os.listdir(directory):
        try:
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in (errno.EISDIR, errno.EPERM):
                raise
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            try:
                if os.fstat(below).st_dev != device:
                    raise ScrunError(f"{name} below the container's directory is a mount: unmount it first") from error
                _empty(below)
            finally:
                os.close(below)
            os.rmdir(name, dir_fd=directory)
