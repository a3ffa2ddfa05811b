"""Brings back what a container changed on the nodes that ran it, from one after the other.

What several of them changed is taken from the first; where the others' is not the same, that is said. A node's script
(:data:`scrun.staging.nodes.SEND`) sends an archive of what is new or changed, with the names of what is gone; unchanged
files are neither read nor sent. One step does it, and removes the node's directory when it is told that all is safely
here.
"""

from __future__ import annotations

import errno
import os

from scrun.errors import StagingError
from scrun.marks import take_first
from scrun.staging import nodes
from scrun.staging.children import Child, Children, Interruption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from scrun.staging.model import Container, Log, Staged, Step


def bring_back(
    container: Container,
    staged: Staged,
    step: Step,
    *,
    log: Log,
    files_back: Callable[[], None] = lambda: None,
    left: Sequence[str] = (),
    must_have_run: bool = False,
) -> None:
    """Apply the changes to the writable parts here, say so by ``files_back``, and remove the nodes' directories.

    ``left`` are directories of the root filesystem that are no change where they are empty, the innermost first.
    ``must_have_run`` says that the container's process has ended with success: it must have been run, then.

    Raises:
        StagingError: what went wrong, and where on the node the changes still are.
    """
    taken: set[bytes] = set()
    for index, node in enumerate(staged.nodes):
        is_last = index == len(staged.nodes) - 1
        _bring_back_from(
            *(node, staged.nodes[index:], container, staged, step, log, taken),
            files_back if is_last else lambda: None,
            left,
            must_have_run,
        )


def _bring_back_from(
    node: str,
    left: Sequence[str],
    container: Container,
    staged: Staged,
    step: Step,
    log: Log,
    taken: set[bytes],
    files_back: Callable[[], None],
    left_by_slurm: Sequence[str],
    must_have_run: bool,
) -> None:
    path = nodes.node_path(container, staged.node_parent, staged.node_home)
    parts = [part for part in staged.parts if part.writable]
    names = [part.name for part in parts]
    not_run = os.path.basename(staged.beside) if must_have_run and not staged.spool else ""
    words = (not_run, nodes.xattrs(container), "\n".join(left_by_slurm), *names)
    argv = nodes.command_in_bash(nodes.SEND, staged.node_parent, staged.node_home, staged.node_name, *words)
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    with Interruption() as interruption, Children(interruption) as children, os.fdopen(write_end, "wb") as answer:
        try:
            sender = children.step(step, argv, stdin=read_end, nodes=[node])
        finally:
            os.close(read_end)
        try:
            # While the step is on its way, these take their time as well.
            import tarfile  # noqa: F401

            from scrun.staging.changes import Changes

            stream: Any = _Stream(children, sender)  # all that tarfile asks of a file
            said = stream.begin()
            if not stream.begins_with(nodes.UNCHANGED):
                with Changes(container, parts, log, taken) as changes:
                    changes.apply(stream)
            answer.write(b"remove\n")
            answer.close()
            if said != f"{node} {nodes.NOT_RUN}":
                files_back()
        except (StagingError, OSError) as error:
            answer.close()  # without the word that removes it all
            children.wait(seconds=3)
            raise StagingError(
                f"bringing back container {container.id}'s changes: {_reason(sender, error)}: "
                f"they are still in {', '.join(left)}:{path}"
            ) from error
        children.wait()
        if sender.process.wait():
            raise StagingError(f"{node}:{path} is not removed: {sender.words()}")
        if said == f"{node} {nodes.NOT_RUN}":
            raise StagingError(f"the container's process was not run in a container on {node}")


def _reason(sender: Child, error: Exception) -> str:
    """The node's own words where it has some and its stream ended; other errors are this host's."""
    is_ours = isinstance(error, OSError) and error.errno != errno.EPIPE
    return str(error) if is_ours else sender.words() or str(error)


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
