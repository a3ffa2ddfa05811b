"""Carries directories and files to all nodes of the job, in one stream that Slurm hands to each of them."""

from __future__ import annotations

import os

from scrun.errors import StagingError
from scrun.staging import nodes
from scrun.staging.children import Children, Interruption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrun.staging.children import Child
    from scrun.staging.model import Container, Log, Part, Step


class Carrier:
    """One transfer, to NODE_DIR ``parent``."""

    def __init__(self, container: Container, step: Step, parent: str, log: Log, interruption: Interruption) -> None:
        self._container = container
        self._step = step
        self._parent = parent
        self._log = log
        self._interruption = interruption

    def carry(self, parts: Sequence[Part], files: Mapping[str, bytes], recursive: frozenset[str]) -> None:
        """Carry ``parts``, those in ``recursive`` with what is mounted in them, and write ``files``.

        One that has the name of a part is written in its place.

        Raises:
            StagingError: naming the node or the file; then no node keeps anything.
        """
        for part in parts:
            self._log("info", f"carrying {part.source} to {', '.join(self._step.nodes)}")
        try:
            self._carry(parts, files, recursive)
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Remove what is on the nodes; what stays there is said to the log only."""
        try:
            nodes.remove(self._step, self._parent, nodes.node_name(self._container), seconds=20)
        except (StagingError, OSError) as error:
            self._log("info", f"cleaning up: {error}")

    def _carry(self, parts: Sequence[Part], files: Mapping[str, bytes], recursive: frozenset[str]) -> None:
        from scrun.staging.archive import Archiver

        tracked = [part.name for part in parts if part.writable]
        xattrs = nodes.xattrs(self._container)
        argv = nodes.command(nodes.RECEIVE, self._parent, nodes.node_name(self._container), xattrs, *tracked)
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        with Children(self._interruption) as children:
            try:
                receiver = self._start(children, argv, read_end)

                def check() -> None:
                    # A node that gave up doesn't stop the others from reading on.
                    if nodes.complaints(receiver) or children.has_closed(receiver):
                        nodes.check(receiver, 1, self._step.nodes)

                archiver = Archiver(children, write_end, check, self._log, xattrs, self._container.user_id == 0)
                for part in parts:
                    if part.name not in files:
                        archiver.add(part, recursive=part.name in recursive)
                archiver.add_files({**files, "complete": b""})
            finally:
                # An end that comes too early has the nodes clean up by themselves.
                os.close(write_end)
            if children.wait_for(lambda: nodes.have_answered(receiver, self._step.nodes)):
                nodes.check(receiver, 0, self._step.nodes)
                children.let_go(receiver)  # the step takes a while to end, and has nothing more to say
            else:
                nodes.check(receiver, receiver.process.wait(), self._step.nodes)

    def _start(self, children: Children, argv: list[str], stdin: int) -> Child:
        try:
            return children.step(self._step, argv, stdin=stdin)
        finally:
            os.close(stdin)
