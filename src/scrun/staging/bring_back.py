"""Brings back what a container changed on the nodes that ran it, from one after the other.

What several of them changed is taken from the first; where the others' is not the same, that is said. A node's script
(:data:`scrun.staging.nodes.SEND`) sends an archive of what is new or changed, with the names of what is gone; unchanged
files are neither read nor sent. No node's files are removed before all nodes' changes are here, so it can be repeated
from the beginning at any moment. With one node, the step that sent them removes them when it is told to.
"""

from __future__ import annotations

import os

from scrun.errors import StagingError
from scrun.marks import take_first
from scrun.staging import nodes, trees
from scrun.staging.children import Child, Children, Interrupted, Interruption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from scrun.staging.model import Container, Log, Part, Staged, Step


_TRIES = 2  # of a transfer whose step was killed, or lost its connection


def bring_back(
    container: Container,
    staged: Staged,
    step: Step,
    *,
    log: Log,
    files_back: Callable[[], None] = lambda: None,
    left: Sequence[str] = (),
    must_have_run: bool = False,
    leave_alone: Callable[[], float] = lambda: 0.0,
) -> None:
    """Apply the changes to the writable parts here, say so by ``files_back``, and remove the nodes' directories.

    ``left`` are directories of the root filesystem that are no change where they are empty, the innermost first.
    ``must_have_run`` says that the container's process has ended with success: it must have been run, then.
    ``leave_alone`` says until when (time.monotonic) no file may be made: what it is for may be removed.

    Raises:
        StagingError: what went wrong, and where on the nodes the changes still are.
    """
    parts = [part for part in staged.parts if part.writable]
    transfer = _Transfer(container, staged, step, parts, log, left, must_have_run, leave_alone)
    try:
        for node in staged.nodes[:-1]:
            transfer.take(node)
        transfer.take(staged.nodes[-1], files_back)
    finally:
        transfer.close()
    if len(staged.nodes) > 1:
        nodes.remove(step, staged.node_parent, staged.node_home, staged.node_name)


class _Transfer:
    """What the transfers from all nodes have in common."""

    def __init__(
        self,
        container: Container,
        staged: Staged,
        step: Step,
        parts: list[Part],
        log: Log,
        left: Sequence[str],
        must_have_run: bool,
        leave_alone: Callable[[], float],
    ) -> None:
        self._container, self._staged, self._step, self._log = container, staged, step, log
        self._parts, self._leave_alone = parts, leave_alone
        self._taken: set[bytes] = set()
        not_run = os.path.basename(staged.beside) if must_have_run and not staged.spool else ""
        words = (not_run, nodes.xattrs(container), "\n".join(left), *(part.name for part in parts))
        where = staged.node_parent, staged.node_home, staged.node_name
        self._argv = nodes.command_in_bash(nodes.SEND, *where, *words)
        self._root = _open_root(parts)
        self._path = nodes.node_path(container, staged.node_parent, staged.node_home)

    def close(self) -> None:
        if self._root is not None:
            os.close(self._root)

    def take(self, node: str, files_back: Callable[[], None] | None = None) -> None:
        """Apply the changes of one node; with ``files_back`` it is the last, and removes its files if it is the only.

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
                raise self._failed(node, str(error), keep=not isinstance(error.__cause__, Interrupted)) from error
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
                was_run = self._apply(children, sender) != f"{node} {nodes.NOT_RUN}"
                if files_back and was_run:
                    files_back()
            except (StagingError, OSError) as error:
                answer.close()  # without the word that removes it all
                self._give_up(error, children, sender)
            self._let_go(node, children, sender, answer, remove=files_back is not None and len(self._staged.nodes) == 1)
        if not was_run:
            raise StagingError(f"the container's process was not run in a container on {node}")

    def _apply(self, children: Children, sender: Child) -> str:
        """Make the node's changes here; what it says of the container's process."""
        # While the step is on its way, these take their time as well.
        import tarfile  # noqa: F401

        from scrun.staging.changes import Changes

        stream: Any = _Stream(children, sender)  # all that tarfile asks of a file
        said: str = stream.begin()
        if not stream.begins_with(nodes.UNCHANGED):
            with Changes(
                self._container, self._parts, self._log, self._taken, root=self._root, leave_alone=self._leave_alone
            ) as changes:
                changes.apply(stream)
        return said

    def _give_up(self, error: Exception, children: Children, sender: Child) -> None:
        """The changes are not here.

        Raises:
            _Lost: another try may do better.
            _NotHere: it would not.
        """
        is_cut_short = children.has_closed(sender) and not isinstance(error, OSError | Interrupted)
        children.wait(seconds=3)
        # The node's own words where it has some: ours is only that its stream ended, unless it is this host's fault.
        reason = str(error) if isinstance(error, OSError) else sender.words() or str(error)
        if is_cut_short and sender.process.wait():
            raise _Lost(reason) from error
        raise _NotHere(reason) from error

    def _let_go(self, node: str, children: Children, sender: Child, answer: Any, *, remove: bool) -> None:
        try:
            answer.write(b"remove\n" if remove else b"stay\n")
        except OSError:
            pass  # it has gone, which its status tells
        answer.close()
        children.wait()
        if sender.process.wait() and remove:
            raise StagingError(f"{node}:{self._path} is not removed: {sender.words() or 'its step was killed'}")

    def _failed(self, node: str, reason: str, *, keep: bool) -> StagingError:
        """The error that says where the changes are: where no Epilog that goes by the job's number finds them.

        Those of the nodes before that one are here.
        """
        at = self._staged
        done, left = at.nodes[: at.nodes.index(node)], at.nodes[at.nodes.index(node) :]
        where = f"{', '.join(left)}:{self._path}"
        if keep:
            place = at.node_parent, at.node_home, at.node_name
            try:
                kept = nodes.keep(self._step, *place, hosts=left)
                where = f"{', '.join(left)}:{os.path.dirname(self._path)}/{kept}"
            except (StagingError, OSError):
                where += ", unless the end of the job removes them there (Epilog)"
            try:
                if done:
                    nodes.remove(self._step, *place, hosts=done)
            except (StagingError, OSError) as error:
                self._log("info", f"cleaning up: {error}")
        return StagingError(
            f"bringing back container {self._container.id}'s changes: {reason}: they are still in {where}"
        )


class _NotHere(StagingError):
    """The changes could not be made here."""


class _Lost(StagingError):
    """The node's stream ended before all had come, and not by a fault of what is in it or of this host's disk."""


def _open_root(parts: Sequence[Part]) -> int | None:
    """A descriptor of the root filesystem, where that is a part and is there; it stays when an engine unmounts it.

    Where the engine has unmounted it already, its mount point isn't it.
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
    """A step's stdout, to be read; tarfile asks for no more than this."""

    def __init__(self, children: Children, child: Child) -> None:
        self._children = children
        self._child = child

    def begin(self) -> str:
        """Drop what others have printed before the node's first line, and say what is in that line.

        Raises:
            StagingError: it has none.
        """
        out = self._child.out
        first = take_first(out)

        def has_come() -> bool:
            nonlocal first
            first = first or take_first(out)
            return first is not None

        if not self._children.wait_for(has_come) or not first:
            raise StagingError("the archive was cut short")
        return first

    def begins_with(self, line: bytes) -> bool:
        """Whether the first that comes is this; nothing is taken."""
        out = self._child.out
        self._children.wait(lambda: len(out) >= len(line) or not self._children.is_open(out))
        return out.startswith(line)

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, b"" at the end."""
        out = self._child.out
        self._children.wait(lambda: bool(out) or not self._children.is_open(out))
        data = bytes(out[:size])
        del out[:size]
        return data
