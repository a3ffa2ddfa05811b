"""Carry directories and files to all nodes of the job at once, except files that the nodes have in their cache.

The layers of the root filesystem go into the nodes' cache (:mod:`scrun.staging.layered_root`), and what is the
container's own goes with the other files. A root filesystem without layers, or without a cache, goes with them as a
whole.
"""

from __future__ import annotations

from scrun.errors import StagingError
from scrun.staging import node_directory
from scrun.staging.children import Children, Interruption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrun.staging.layered_root import LayeredRoot
    from scrun.staging.model import ContainerFiles, LogCall, NodeSteps, Part
    from scrun.staging.stage_options import StagingOptions
    from scrun.staging.transfer import Files


class Carrier:
    """A transfer to the directory ``parent`` of each node (NODE_DIR)."""

    def __init__(
        self,
        container: ContainerFiles,
        step: NodeSteps,
        parent: str,
        log: LogCall,
        interruption: Interruption,
        options: StagingOptions,
    ) -> None:
        self._container = container
        self._step = step
        self._parent = parent
        self._log = log
        self._interruption = interruption
        self._options = options
        self.home = ""  # the name in place of scrun-UID on the nodes; see node_directory.other_home

    def carry(
        self, parts: Sequence[Part], files: Files, held: Mapping[str, int], layered: LayeredRoot | None = None
    ) -> str:
        """Carry ``parts``, and write ``files`` on the nodes.

        Args:
            parts: the directories and files of this host.
            files: returns scrun's own files; one with the name of a part replaces that part.
            held: descriptors of parts by name, which are read instead of the parts' paths.
            layered: the root filesystem's layers.

        Returns:
            How the nodes have the root filesystem: as an "overlay" of its layers, as a "copy" of what such an overlay
            shows, or "plain".

        Raises:
            StagingError: the node or the file that failed; no node keeps anything then.
        """
        from scrun.staging.transfer import Transfer

        try:
            with (
                Children(self._interruption) as children,
                Transfer(self._container, self._step, self._parent, self._log, self._options, children) as transfer,
            ):
                try:
                    mode = transfer.run(parts, files, held, layered)
                finally:
                    self.home = transfer.home
                return mode
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Remove the files from the nodes; a failure is logged only."""
        try:
            node_directory.remove_directory(
                self._step, self._parent, self.home, node_directory.node_name(self._container), seconds=20
            )
        except (StagingError, OSError) as error:
            self._log("info", f"cleaning up: {error}")
