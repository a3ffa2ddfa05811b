"""Bring back what a container changed on its nodes, one node after another.

A file that several nodes changed comes from the first of them; a difference on another node is logged. Each node's
script (:data:`scrun.staging.node_directory.SEND`) sends an archive of new and changed files with the names of removed
files. Unchanged files are neither read nor sent. No node's files are removed before the changes of all nodes have
arrived, so the work can be repeated from the beginning. With one node, the sending step also removes the files.
"""

from __future__ import annotations

import os

from scrun.errors import StagingError
from scrun.marks import take_first
from scrun.staging import node_directory, trees
from scrun.staging.children import Child, Children, Interruption, StagingInterrupted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from scrun.staging.model import ContainerFiles, LogCall, NodeSteps, Part, Staged


_TRIES = 2  # of a transfer whose step was killed or lost its connection


def bring_back(
    container: ContainerFiles,
    staged: Staged,
    step: NodeSteps,
    *,
    log: LogCall,
    files_back: Callable[[], None] = lambda: None,
    left: Sequence[str] = (),
    leave_alone: Callable[[], float] = lambda: 0.0,
) -> None:
    """Apply the changes to the writable parts on this host, call ``files_back``, and remove the nodes' directories.

    Args:
        container: the container.
        staged: where its files are.
        step: runs commands on the nodes.
        log: is called with a level and a message.
        files_back: is called when all changes have arrived.
        left: directories of the root filesystem that don't count as changes if they are empty, the innermost first.
        leave_alone: returns the time (time.monotonic) before which no file is made, because its directory may be
            removed until then.

    Raises:
        StagingError: the failure, and where on the nodes the changes still are.
    """
    parts = [part for part in staged.parts if part.writable]
    transfer = _BringingBack(container, staged, step, parts, log, left, leave_alone)
    try:
        for node in staged.nodes[:-1]:
            transfer.take(node)
        transfer.take(staged.nodes[-1], files_back)
    finally:
        transfer.close()
    if len(staged.nodes) > 1:
        node_directory.remove_directory(step, staged.node_parent, staged.node_home, staged.node_name)


class _BringingBack:
    """The transfers from all nodes, one after another."""

    def __init__(
        self,
        container: ContainerFiles,
        staged: Staged,
        step: NodeSteps,
        parts: list[Part],
        log: LogCall,
        left: Sequence[str],
        leave_alone: Callable[[], float],
    ) -> None:
        self._container, self._staged, self._step, self._log = container, staged, step, log
        self._parts, self._leave_alone = parts, leave_alone
        self._taken: set[bytes] = set()
        words = (node_directory.xattrs(container), "\n".join(left), *(part.name for part in parts))
        where = staged.node_parent, staged.node_home, staged.node_name
        self._argv = node_directory.bash_argv(node_directory.SEND, *where, *words)
        self._root = _open_root(parts)
        self._path = node_directory.node_path(container, staged.node_parent, staged.node_home)

    def close(self) -> None:
        if self._root is not None:
            os.close(self._root)

    def take(self, node: str, files_back: Callable[[], None] | None = None) -> None:
        """Apply the changes of one node; ``files_back`` is for the last node, which removes its files if it is alone.

        Raises:
            StagingError: see :func:`bring_back`.
        """
        for tries_left in reversed(range(_TRIES)):
            try:
                return self._take(node, files_back)
            except _Lost as error:
                if not tries_left:
                    raise self._failed(node, str(error), keep=True) from error
                self._log("info", f"{node}: {error}: the transfer is made once more")
            except _NotHere as error:
                raise self._failed(
                    node, str(error), keep=not isinstance(error.__cause__, StagingInterrupted)
                ) from error
        return None

    def _take(self, node: str, files_back: Callable[[], None] | None) -> None:
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        with (
            Interruption() as interruption,
            Children(interruption) as children,
            os.fdopen(write_end, "wb", 0) as answer,
        ):
            try:
                sender = children.step(self._step, "fetch", self._argv, stdin=read_end, nodes=[node])
            except OSError as error:
                raise _NotHere(f"its transfer can't be begun: {error.strerror}: {error.filename}") from error
            finally:
                os.close(read_end)
            try:
                self._apply(children, sender)
                if files_back:
                    files_back()
            except (StagingError, OSError) as error:
                answer.close()  # without the word "remove"
                self._give_up(error, children, sender)
            self._let_go(node, children, sender, answer, remove=files_back is not None and len(self._staged.nodes) == 1)

    def _apply(self, children: Children, sender: Child) -> None:
        """Apply the node's changes."""
        # These imports take time, which passes while the step starts.
        import tarfile  # noqa: F401

        from scrun.staging.node_changes import NodeChanges

        stream: Any = _Stream(children, sender)  # tarfile needs no more of a file
        stream.begin()
        if not stream.begins_with(node_directory.UNCHANGED):
            with NodeChanges(
                self._container, self._parts, self._log, self._taken, root=self._root, leave_alone=self._leave_alone
            ) as changes:
                changes.apply(stream)

    def _give_up(self, error: Exception, children: Children, sender: Child) -> None:
        """Raise the error for changes that could not be applied.

        Raises:
            _Lost: another try may succeed.
            _NotHere: another try would fail too.
        """
        is_cut_short = children.has_closed(sender) and not isinstance(error, OSError | StagingInterrupted)
        children.wait(seconds=3)
        # The node's own message, if there is one, because ours says only that the stream ended. An error of this host
        # is told as it is.
        reason = str(error) if isinstance(error, OSError) else sender.words() or str(error)
        if is_cut_short and sender.process.wait():
            raise _Lost(reason) from error
        raise _NotHere(reason) from error

    def _let_go(self, node: str, children: Children, sender: Child, answer: Any, *, remove: bool) -> None:
        try:
            answer.write(b"remove\n" if remove else b"stay\n")
        except OSError:
            pass  # the step has ended; its status tells
        answer.close()
        children.wait()
        if sender.process.wait() and remove:
            raise StagingError(f"{node}:{self._path} is not removed: {sender.words() or 'its step was killed'}")

    def _failed(self, node: str, reason: str, *, keep: bool) -> StagingError:
        """The error that names the place of the changes; with ``keep`` they get a name that no job's Epilog removes.

        The changes of the nodes before ``node`` have arrived.
        """
        at = self._staged
        done, left = at.nodes[: at.nodes.index(node)], at.nodes[at.nodes.index(node) :]
        where = f"{', '.join(left)}:{self._path}"
        if keep:
            place = at.node_parent, at.node_home, at.node_name
            try:
                kept = node_directory.keep_changes(self._step, *place, hosts=left)
                where = f"{', '.join(left)}:{os.path.dirname(self._path)}/{kept}"
            except (StagingError, OSError):
                where += ", unless the end of the job removes them there (Epilog)"
            try:
                if done:
                    node_directory.remove_directory(self._step, *place, hosts=done)
            except (StagingError, OSError) as error:
                self._log("info", f"cleaning up: {error}")
        return StagingError(
            f"bringing back container {self._container.id}'s changes: {reason}: they are still in {where}"
        )


class _NotHere(StagingError):
    """The changes could not be applied on this host."""


class _Lost(StagingError):
    """The node's stream ended too early, though its content and this host's disk were right."""


def _open_root(parts: Sequence[Part]) -> int | None:
    """A descriptor of the root filesystem, which stays valid when an engine unmounts it.

    None if the root filesystem is no part, or if the engine has unmounted it, so that the mount point is another
    directory.
    """
    for part in parts:
        if part.name == "rootfs":
            try:
                known = part.inode, part.fsid
                return trees.open_again(os.path.realpath(part.source), os.O_RDONLY | os.O_DIRECTORY, known)
            except OSError:
                return None
    return None


class _Stream:
    """A step's stdout as the file that tarfile reads."""

    def __init__(self, children: Children, child: Child) -> None:
        self._children = children
        self._child = child

    def begin(self) -> None:
        """Drop foreign output before the script's first line, and that line.

        Raises:
            StagingError: the output ended without such a line.
        """
        out = self._child.out
        first = take_first(out)

        def has_come() -> bool:
            nonlocal first
            first = first or take_first(out)
            return first is not None

        if not self._children.wait_for(has_come) or not first:
            raise StagingError("the archive was cut short")

    def begins_with(self, line: bytes) -> bool:
        """Whether the next bytes are ``line``; they stay unread."""
        out = self._child.out
        self._children.wait(lambda: len(out) >= len(line) or not self._children.is_open(out))
        return out.startswith(line)

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes; b"" at the end."""
        out = self._child.out
        self._children.wait(lambda: bool(out) or not self._children.is_open(out))
        data = bytes(out[:size])
        del out[:size]
        return data
