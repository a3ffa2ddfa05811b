"""Carries directories and files to all nodes of the job at once, but what they have from an earlier time.

The root filesystem goes into the nodes' cache as an image, and what sets the container's apart from that goes along
with the rest: see :mod:`scrun.staging.images`. Where nothing is cached it goes with the rest as well.
"""

from __future__ import annotations

from scrun.errors import StagingError
from scrun.staging import nodes
from scrun.staging.children import Children, Interruption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrun.staging.model import Container, Log, Part, Step
    from scrun.staging.options import Options
    from scrun.staging.summing import Summing
    from scrun.staging.transfer import Files


class Carrier:
    """One transfer, to NODE_DIR ``parent``."""

    def __init__(
        self,
        container: Container,
        step: Step,
        parent: str,
        log: Log,
        interruption: Interruption,
        options: Options,
    ) -> None:
        self._container = container
        self._step = step
        self._parent = parent
        self._log = log
        self._interruption = interruption
        self._options = options
        self.home = ""  # the transfer's
        self.summing: Summing | None = None

    def carry(self, parts: Sequence[Part], files: Files, held: Mapping[str, int]) -> str:
        """Carry ``parts`` and write ``files``.

        A file that has the name of a part is written in its place. ``held`` are descriptors to read parts by.

        The answer is how the nodes have the root filesystem: "overlay", over an image; "copy" of one; or "plain".

        Raises:
            StagingError: naming the node or the file; then no node keeps anything.
        """
        from scrun.staging.transfer import Transfer

        try:
            with (
                Children(self._interruption) as children,
                Transfer(self._container, self._step, self._parent, self._log, self._options, children) as transfer,
            ):
                try:
                    mode = transfer.run(parts, files, held)
                finally:
                    self.home = transfer.home
                self.summing = transfer.summing
                return mode
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Remove what is on the nodes; what stays there is said to the log only."""
        try:
            nodes.remove(self._step, self._parent, self.home, nodes.node_name(self._container), seconds=20)
        except (StagingError, OSError) as error:
            self._log("info", f"cleaning up: {error}")
