"""The exchange with the step that receives the nodes' files; for its orders see :mod:`scrun.staging.place`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from scrun.staging import node_directory
from scrun.staging.archive import Archiver
from scrun.staging.content import Hashing
from scrun.staging.feed import CHUNK, Feed
from scrun.staging.images import Delta, holes, scan, settled
from scrun.staging.kept import Images
from scrun.staging.known import Known
from scrun.staging.layered_root import LAYERS
from scrun.staging.place import PLACE
from scrun.staging.summing import Summing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from scrun.staging.children import Child, Children
    from scrun.staging.images import ListedTree
    from scrun.staging.layered_root import LayeredRoot
    from scrun.staging.model import ContainerFiles, LogCall, NodeSteps, Part
    from scrun.staging.stage_options import StagingOptions

    # Returns scrun's own files by name, given how the nodes have the root filesystem, and the name that replaces
    # scrun-UID on them.
    Files = Callable[[str, str], Mapping[str, bytes]]

ROOTFS = "rootfs"
_MUCH = 1 << 22  # bytes from which on the nodes' own connections are worth opening
_PAUSE = 1.0  # seconds between two progress messages
_READERS = 2  # threads that take checksums while nothing else is done
_SOON = 0.02  # seconds
_FIRST_WORD = 2.0  # seconds before the first progress message


class Transfer:
    """A transfer to all nodes. Leaving the ``with`` block ends it; the nodes then remove incomplete files."""

    def __init__(
        self,
        container: ContainerFiles,
        step: NodeSteps,
        parent: str,
        log: LogCall,
        options: StagingOptions,
        children: Children,
    ) -> None:
        self._container = container
        self._step = step
        self._parent = parent
        self._log = log
        self._options = options
        self._children = children
        self._nodes = list(step.nodes)
        self._images = Images(container.images)
        self._feed: Feed | None = None
        self.home = ""  # node_directory.other_home's name, if the nodes need it
        self.summing: Summing | None = None  # the checksums that remain to be taken while the container runs
        self._orders = -1
        self._heard = 0  # how many answers of every node have been read
        self._noted = 0
        self._receiver: Child
        self._begun = self._told = time.monotonic()
        self._expected = 0  # bytes of the current stream

    def __enter__(self) -> Transfer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._feed:
            self._feed.close()
        if self._orders >= 0:
            os.close(self._orders)

    def run(
        self, parts: Sequence[Part], files: Files, held: Mapping[str, int], layered: LayeredRoot | None = None
    ) -> str:
        """Carry all files; return how the nodes have the root filesystem (see Carrier.carry)."""
        self._start(parts)
        root = next((part for part in parts if part.name == ROOTFS), None)
        mode, delta = "plain", Delta()
        if root and layered and self._lay(layered):
            mode = LAYERS
        elif root and self._options.cache and self._container.images:
            mode, delta = self._place(root)
        if mode == "plain":
            self._ask("plain")
        ours = files(mode, self.home)  # a file with the name of a part replaces the part
        rest = [part for part in parts if (mode == "plain" or part is not root) and part.name not in ours]
        for part in rest:
            self._log("info", f"carrying {part.source} to {', '.join(self._nodes)}")
        size = layered.size if layered and mode == LAYERS else delta.size
        much = size > _MUCH or any(part.is_directory or os.path.getsize(part.source) > _MUCH for part in rest)
        connected = much and self._reach()
        self._order(f"go {mode} {'connection' if connected else 'stdin'}")
        self._expected = 0
        with self._archiver(self._nodes if connected else []) as archiver:
            if layered and root and mode == LAYERS:
                layered.archive(archiver, root)
            elif mode != "plain" and root:
                over = root if mode == "overlay" else root._replace(name="delta")
                archiver.add(over, only=delta.changed or (b"",))
            for part in rest:
                archiver.add(part, held=held.get(part.name))
            gone = {"gone": b"".join(name + b"\0" for name in delta.gone)} if delta.gone else {}
            archiver.add_files({**ours, **gone, "complete": b""})
        os.close(self._orders)
        self._orders = -1
        if self._children.wait_for(lambda: node_directory.have_answered(self._receiver, self._nodes)):
            node_directory.require_success(self._receiver, 0, self._nodes)
            self._children.let_go(self._receiver)  # all answers are here, and the step takes a while to end
        else:
            node_directory.require_success(self._receiver, self._receiver.process.wait(), self._nodes)
        return mode

    def _start(self, parts: Sequence[Part]) -> None:
        """Start the step on the nodes."""
        tracked = [part.name for part in parts if part.writable]
        size, container = self._options.cache_size, self._container
        arguments = (
            self._options.cache_dir,
            str(size // 1024 if size >= 0 else size),
            self._may_overlay(),
            *(container.overlay[1:] if container.overlay else ("", "")),
            node_directory.xattrs(container),
        )
        argv = node_directory.bash_argv(
            PLACE, self._parent, "", node_directory.node_name(container), *arguments, *tracked
        )
        read_end, self._orders = os.pipe2(os.O_CLOEXEC)
        try:
            self._receiver = self._children.step(self._step, "stage", argv, stdin=read_end)
        finally:
            os.close(read_end)

    def _may_overlay(self) -> str:
        """Whether the nodes' runtimes mount an overlay as a root filesystem: yes, no, or try."""
        if not (self._container.overlay and self._options.overlay):
            return "no"
        mounts = self._known().mounts_at_root(self._nodes, self._container.overlay)
        return "try" if mounts is None else "yes" if mounts else "no"

    def _known(self) -> Known:
        return Known(self._container.memory, None, self._options.remember)

    def _lay(self, layered: LayeredRoot) -> bool:
        """Have the nodes mount the engine's layers; False if a node can't, or too much would have to be carried."""
        path = self._container.rootfs
        if not layered.prepare(self._children):
            self._log("debug", f"{path}: its layers are not used in place: too many files are another user's")
            return False
        said = self._ask(layered.order)
        for node, answer in said.items():
            self._learn_mounts(node, answer[2:3])
            if answer[1] != "yes":
                self._log("info", f"{node}: {' '.join(answer[3:])}: the layers of {path} are not used in place")
        if not all(answer[1] == "yes" for answer in said.values()):
            return False
        count = len(layered.layers.lower)
        self._log("debug", f"{', '.join(said)} have the {count} layers of {path}: {layered.size} bytes are carried")
        return True

    def _learn_mounts(self, node: str, tried: Sequence[str]) -> None:
        if self._container.overlay and tried in (["yes"], ["no"]):
            self._known().learn_mounts_at_root([node], self._container.overlay, tried == ["yes"])

    def _place(self, root: Part) -> tuple[str, Delta]:
        """Make sure that the nodes have an image close to the directory; return the mode and the image's delta."""
        tree = self._scan(root)
        name, delta = self._images.closest(tree, lambda names: self._checksums(root, names))
        said = self._ask(f"image {name} {self._kilobytes(root, tree)}")
        lacking = [node for node, answer in said.items() if answer[0] == "lacks"]
        if lacking and name != tree.name:
            # This host has no files of the lost image any more, so all nodes get an image of the directory itself.
            self._images.forget(name)
            name, delta = tree.name, Delta()
            said = self._ask(f"image {name} {self._kilobytes(root, tree)}")
            lacking = [node for node, answer in said.items() if answer[0] == "lacks"]
        for node, answer in said.items():
            if answer[0] == "plain":
                self._log("info", f"{node}: {' '.join(answer[1:])}: {root.source} is carried without being cached")
                return "plain", Delta()
        if not lacking:
            self._log("debug", f"{', '.join(said)} have {root.source}, but for {delta.size} bytes")
            self._images.used(name)
        elif not self._fill(root, tree, lacking):
            return "plain", Delta()
        for node, answer in said.items():
            self._learn_mounts(node, answer[2:])
        return ("overlay" if all(answer[1] == "overlay" for answer in said.values()) else "copy"), delta

    def _fill(self, root: Part, tree: ListedTree, lacking: list[str]) -> bool:
        """Carry an image to the nodes that lack it; False if they can't connect to this host."""
        if not self._reach():
            return False
        self._log("info", f"carrying {root.source} to {', '.join(lacking)}")
        self._order("fill")
        self._expected = tree.size
        with self._archiver(lacking) as archiver:
            archiver.add(root._replace(name="tree"))
            archiver.add_files({"complete": b""})
        again = self._scan(root)  # while the nodes receive the last bytes
        self._hear()
        tree, others = settled(tree, again)
        if not others:
            self._ask(f"commit {tree.name}")
            self._images.keep(tree)
            self.summing = Summing(
                self._images,
                root.source,
                tree,
                xattrs=node_directory.xattrs(self._container),
                devices=self._container.devices,
            )
        else:
            some = ", ".join(repr(os.fsdecode(name)) for name in others[:3])
            self._log("info", f"{root.source} changed while it was carried, and will be again: {some} ({len(others)})")
            self._ask(f"commit changed-{os.urandom(8).hex()}")
        return True

    def _scan(self, root: Part) -> ListedTree:
        return scan(self._children, root.source, devices=self._container.devices)

    def _checksums(self, root: Part, names: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """Take checksums of files and directories below the root, and wait for them."""
        self._log("debug", f"{root.source} looks like an image that was carried: reading it to compare")
        hashing = Hashing(root.source, names, node_directory.xattrs(self._container), _READERS)
        try:
            while not hashing.has_ended:
                self._check()
                self._children.wait(lambda: hashing.has_ended, seconds=_SOON)
        finally:
            hashing.end()
        return hashing.checksums

    @staticmethod
    def _kilobytes(root: Part, tree: ListedTree) -> int:
        """The tree's approximate size on a disk in KB: some more for each file, and less for holes."""
        return (tree.size - holes(root.source, tree)) // 1024 + 3 * tree.files

    def _reach(self) -> bool:
        """Have all nodes connect to this host; False if some can't."""
        if self._feed:
            self._feed.close()
            self._feed = None
        known = self._known()
        if known.is_cut_off(self._nodes):
            self._log("debug", "nodes could not connect to this host a while ago: srun carries it all")
            return False
        self._feed = Feed(self._step.ports)
        said = self._ask(f"reach {self._feed.port} {self._feed.token}")
        if all(answer[0] == "reached" for answer in said.values()):
            return self._feed.wait_for(self._nodes)
        if self._feed.visits <= 2 * len(self._nodes):  # else other connections may have kept the nodes out
            known.learn_cut_off([node for node, answer in said.items() if answer[1:] == ["silent"]])
        missing = ", ".join(node for node, answer in said.items() if answer[0] != "reached")
        self._log("debug", f"{missing} can't connect to port {self._feed.port} of this host: srun carries it all")
        return False

    @contextlib.contextmanager
    def _archiver(self, receivers: Collection[str]) -> Iterator[Archiver]:
        """An archiver that writes to the connections of these nodes, or without any to all nodes through srun."""
        output = self._orders
        if receivers and self._feed:
            read_end, output = os.pipe2(os.O_CLOEXEC)
            with contextlib.suppress(OSError):  # the user has many pipes
                fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, CHUNK)  # a pipe of 64 KB would wake two processes more often
            self._feed.send(read_end, receivers)
        try:
            yield Archiver(
                self._children,
                output,
                self._check,
                self._log,
                xattrs=node_directory.xattrs(self._container),
                devices=self._container.devices,
                wide=output != self._orders,
            )
        finally:
            if output != self._orders:
                os.close(output)

    def _check(self) -> None:
        """Raise an error if the transfer can't go on; log the progress now and then."""
        # The other nodes go on reading when one node gives up.
        if node_directory.refusals(self._receiver) or self._children.has_closed(self._receiver):
            node_directory.require_success(self._receiver, 1, self._nodes)
        if self._feed and self._feed.failed:
            self._children.wait(seconds=1)  # for the node's own message
            node_directory.require_success(self._receiver, 1, self._nodes)
        now = time.monotonic()
        if self._feed and self._feed.sent and now - self._begun > _FIRST_WORD and now - self._told > _PAUSE:
            self._told = now
            of = f" of {self._expected // 10**6}" if self._expected else ""
            self._log("progress", f"carried {self._feed.sent // 10**6}{of} MB to {', '.join(self._nodes)}")

    def _ask(self, order: str | Callable[[str], str]) -> dict[str, list[str]]:
        """Give an order, which may depend on the name in place of scrun-UID; return each node's words."""
        self._order(order if isinstance(order, str) else order(self.home))
        said = self._hear()
        refused = {node: " ".join(answer[1:]) for node, answer in said.items() if answer[0] == "elsewhere"}
        if not refused or self.home:
            return said
        self.home = node_directory.other_home(self._container)
        for node, why in refused.items():
            self._log("info", f"{node}: {why}: the files go to {self._parent.rstrip('/')}/{self.home}")
        self._ask(f"home {self.home}")
        return self._ask(order)

    def _order(self, order: str) -> None:
        try:
            os.write(self._orders, order.encode() + b"\n")
        except BrokenPipeError:
            pass  # the step has ended; _check raises the reason

    def _hear(self) -> dict[str, list[str]]:
        """Wait for the next answer of each node; return its words."""

        def done() -> bool:
            self._check()
            said = self._said()
            return all(len(said[node]) > self._heard for node in self._nodes)

        if not self._children.wait_for(done):
            node_directory.require_success(self._receiver, self._receiver.process.wait() or 1, self._nodes)
        self._heard += 1
        return {node: said[self._heard - 1].split(" ") for node, said in self._said().items()}

    def _said(self) -> dict[str, list[str]]:
        """All answers of each node so far; notes go to the log."""
        said: dict[str, list[str]] = {node: [] for node in self._nodes}
        notes = []
        for node, answer in node_directory.lines(self._receiver):
            if answer.startswith("note "):
                notes.append(f"{node}: {answer[5:]}")
            elif node in said:
                said[node].append(answer)
        for note in notes[self._noted :]:
            self._log("info", note)
        self._noted = len(notes)
        return said
