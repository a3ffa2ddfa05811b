"""Bring back what a container changed on its nodes.

A file that several nodes changed comes from the first of them; a difference on another node is logged. One step on all
nodes (:mod:`scrun.staging.way_back`) finds new and changed files and the names of removed files. Unchanged files are
neither read nor sent. No node's files are removed before the changes of all nodes have arrived, so the work can be
repeated from the beginning. The step that has sent the files also removes them. For a container that has ended soon,
it is the step that has carried them (:class:`scrun.staging.child.Standing`).
"""

from __future__ import annotations

import os

from scrun.errors import StagingError
from scrun.staging import node_directory, trees
from scrun.staging.children import Children, Interruption, StagingInterrupted
from scrun.staging.node_changes import BrokenArchive, NodeChanges
from scrun.staging.way_back import WayBack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scrun.staging.child import Standing
    from scrun.staging.model import ContainerFiles, LogCall, NodeSteps, Part, Staged


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
        transfer.run(files_back)
    finally:
        transfer.close()


class _BringingBack:
    """The transfers from all nodes, in one step, or in more where a transfer is made once more."""

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
        self._nodes = list(staged.nodes)  # whose changes haven't arrived, in their order
        self._left, self._stands = "\n".join(left), False
        words = (node_directory.xattrs(container), self._left, *(part.name for part in parts))
        self._place = staged.node_parent, staged.node_home, staged.node_name
        self._argv = node_directory.bash_argv(node_directory.SEND, *self._place, *words)
        self._root = _open_root(parts)
        self._path = node_directory.node_path(container, staged.node_parent, staged.node_home)

    def close(self) -> None:
        if self._root is not None:
            os.close(self._root)

    def run(self, files_back: Callable[[], None]) -> None:
        """Apply the changes of all nodes, call ``files_back``, and have the nodes remove their files.

        Raises:
            StagingError: see :func:`bring_back`.
        """
        lost = ""  # the node whose transfer broke
        while True:
            try:
                return self._transfer(files_back)
            except _Lost as error:
                if self._stands:  # the step that stood by has gone, as it may
                    self._log("debug", f"{error}: a step of its own brings the changes back")
                    continue
                if lost == self._nodes[0]:
                    raise self._failed(str(error), keep=True) from error
                lost = self._nodes[0]
                self._log("info", f"{lost}: {error}: the transfer is made once more")
            except _NotHere as error:
                raise self._failed(str(error), keep=not isinstance(error.__cause__, StagingInterrupted)) from error

    def _transfer(self, files_back: Callable[[], None]) -> None:
        with Interruption() as interruption, Children(interruption) as children:
            asked, standing = tuple(self._nodes), self._standing()
            try:
                way_back = WayBack(
                    *(children, self._step, self._argv, asked, standing, self._left, self._container, self._log)
                )
            except OSError as error:
                raise _NotHere(f"its transfer can't be begun: {error.strerror}: {error.filename}") from error
            with way_back:
                try:
                    while self._nodes:
                        self._apply(way_back, self._nodes[0])
                        if len(self._nodes) == 1:
                            files_back()
                        del self._nodes[0]
                except (StagingError, OSError) as error:
                    self._give_up(error, children, way_back)
                if not way_back.remove():
                    self._log(
                        "info", f"{way_back.sender.words() or 'its step was killed'}: removing its files once more"
                    )
                    asked = self._staged.nodes
                    node_directory.remove_directory(self._step, *self._place, hosts=asked)
        if before := [node for node in self._staged.nodes if node not in asked]:
            node_directory.remove_directory(self._step, *self._place, hosts=before)

    def _standing(self) -> Standing | None:
        """The step that stands by for this; it can be had once."""
        standing, self._step.standing = self._step.standing, None
        self._stands = standing is not None and standing.serves(self._nodes, [part.name for part in self._parts])
        if standing and not self._stands:
            standing.close()
            return None
        return standing

    def _apply(self, way_back: WayBack, node: str) -> None:
        if stream := way_back.stream_of(node):
            made = self._staged.traces.made if self._staged.traces else ()
            with NodeChanges(
                *(self._container, self._parts, self._log, self._taken),
                root=self._root,
                untimed=os.fsencode(os.path.dirname(made[0])) if made else None,
                leave_alone=self._leave_alone,
            ) as changes:
                changes.apply(stream, way_back.is_whole)

    def _give_up(self, error: Exception, children: Children, way_back: WayBack) -> None:
        """Raise the error for changes that could not be applied.

        Raises:
            _Lost: another try may succeed.
            _NotHere: another try would fail too.
        """
        way_back.hang_up()
        children.wait(seconds=3)
        # The node's own message, if there is one, because ours says only that the stream ended. An error of this host
        # is told as it is.
        if isinstance(error, BrokenArchive):
            raise _Lost(way_back.sender.words() or str(error)) from error
        said = str(error)
        if isinstance(error, OSError) and error.filename:
            said = f"{error.filename}: {error.strerror}"
        raise _NotHere(said) from error

    def _failed(self, reason: str, *, keep: bool) -> StagingError:
        """The error that names the place of the changes; with ``keep`` they get a name that no job's Epilog removes."""
        hosts = ", ".join(self._nodes)
        where = f"{hosts}:{self._path}"
        if keep:
            try:
                kept = node_directory.keep_changes(self._step, *self._place, hosts=self._nodes)
                where = f"{hosts}:{os.path.dirname(self._path)}/{kept}"
            except (StagingError, OSError):
                where += ", unless the end of the job removes them there (Epilog)"
            try:
                if done := [node for node in self._staged.nodes if node not in self._nodes]:
                    node_directory.remove_directory(self._step, *self._place, hosts=done)
            except (StagingError, OSError) as error:
                self._log("info", f"cleaning up: {error}")
        return StagingError(
            f"bringing back container {self._container.id}'s changes: {reason}: they are still in {where}"
        )


class _NotHere(StagingError):
    """The changes could not be applied on this host."""


class _Lost(StagingError):
    """The node's stream ended too early."""


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
