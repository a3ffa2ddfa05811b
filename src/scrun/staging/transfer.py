"""The exchange with the step that receives the nodes' files; for its orders see :mod:`scrun.staging.place`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from scrun.native import PROGRAM as NODE_PROGRAM
from scrun.staging import node_directory, place
from scrun.staging.archive import Archiver, pour
from scrun.staging.feed import CHUNK, Feed, fed_by_each
from scrun.staging.known import Known
from scrun.staging.layered_root import COPY, OVERLAY, PLAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from scrun.staging.child import Child
    from scrun.staging.children import Children
    from scrun.staging.layer_files import LayerFiles
    from scrun.staging.layered_root import LayeredRoot
    from scrun.staging.model import ContainerFiles, LogCall, NodeSteps, Part
    from scrun.staging.stage_options import StagingOptions

    # Returns scrun's own files by name, given how the nodes have the root filesystem, and the name that replaces
    # scrun-UID on them.
    Files = Callable[[str, str], Mapping[str, bytes]]

ROOTFS = "rootfs"
_MUCH = 1 << 22  # bytes from which on the nodes' own connections are worth opening
_PIPE = 1 << 20  # bytes
_PAUSE = 1.0  # seconds between two progress messages
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
        self._feed: Feed | None = None
        self.home = ""  # node_directory.other_home's name, if the nodes need it
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
        mode = self._lay(layered) if root and layered else PLAIN
        if mode == PLAIN:
            layered = None
            self._ask("plain")
        ours = files(mode, self.home)  # a file with the name of a part replaces the part
        rest = [part for part in parts if not (layered and part is root) and part.name not in ours]
        for part in rest:
            self._log("info", f"carrying {part.source} to {', '.join(self._nodes)}")
        size = sum(os.path.getsize(part.source) for part in rest) + (layered.size if layered else 0)
        much = size > _MUCH or any(part.is_directory for part in rest)
        connected = much and self._reach()
        with self._own_stream(mode, much=much, connected=connected) as archiver:
            if layered and root:
                layered.archive(archiver, root)
            for part in rest:
                archiver.add(part, held=held.get(part.name))
            archiver.add_files({**ours, "complete": b""})
        # Where a node of several fails, the others' scripts have to end, so that srun does and we learn of it.
        if (much and not connected) or len(self._nodes) > 1:
            os.close(self._orders)
            self._orders = -1
        if self._children.wait_for(lambda: node_directory.have_answered(self._receiver, self._nodes)):
            node_directory.require_success(self._receiver, 0, self._nodes)
            self._known().learn_carries(self._container.id, self._container.bundle, self._nodes)
            self._let_stand(parts)
        else:
            node_directory.require_success(self._receiver, self._receiver.process.wait(), self._nodes)
        return mode

    @contextlib.contextmanager
    def _own_stream(self, mode: str, *, much: bool, connected: bool) -> Iterator[Archiver]:
        """An archiver of the container's own files, for all nodes, and the order that has the nodes unpack it."""
        self._expected = 0
        if much:
            self._order(f"go {mode} {'connection' if connected else 'stdin'}")
            with self._archiver(self._nodes if connected else []) as archiver:
                yield archiver
            return
        archive = os.memfd_create("carried")
        try:
            yield self._new_archiver(archive)
            size = os.lseek(archive, 0, os.SEEK_CUR)
            os.lseek(archive, 0, os.SEEK_SET)
            self._order(f"go {mode} {size}")
            with contextlib.suppress(OSError):  # the user has many pipes
                fcntl.fcntl(self._orders, fcntl.F_SETPIPE_SZ, _PIPE)
            pour(self._children, archive, size, self._orders, self._check)
        finally:
            os.close(archive)

    def _let_stand(self, parts: Sequence[Part]) -> None:
        """Have the step stay, if it can, for the container's end (:class:`scrun.staging.child.Standing`)."""
        receiver = self._receiver
        if self._orders < 0 or not all(map(self._children.is_open, (receiver.out, receiver.err))):
            self._children.let_go(receiver)  # all answers are here, and the step takes a while to end
            return
        tracked = [part.name for part in parts if part.writable]
        self._step.standing = self._children.part_with(receiver, self._orders, self._nodes, tracked)
        self._orders = -1

    def _start(self, parts: Sequence[Part]) -> None:
        """Start the step on the nodes."""
        if self._step.standing:
            self._step.standing.close()
            self._step.standing = None
        container, options, overlay = self._container, self._options, self._may_overlay()
        size = options.cache_size
        trial = container.overlay[1:] if container.overlay and overlay == "try" else ("", "")
        arguments = place.arguments(
            (
                *(self._parent, "", node_directory.node_name(container)),
                *(options.cache_dir, str(size // 1024 if size >= 0 else size), overlay, *trial),
                node_directory.xattrs(container),
                *(part.name for part in parts if part.writable),
            )
        )
        if self._step.early:
            self._receiver, self._orders = self._children.take_over(self._step.early)
            self._step.early = None
        else:
            self._receiver, self._orders = place.start(self._children, self._step)
        self._write(arguments)

    def _may_overlay(self) -> str:
        """Whether the nodes' runtimes mount an overlay as a root filesystem: yes, no, or try."""
        if not (self._container.overlay and self._options.overlay):
            return "no"
        mounts = self._known().mounts_at_root(self._nodes, self._container.overlay)
        return "try" if mounts is None else "yes" if mounts else "no"

    def _known(self) -> Known:
        return Known(self._container.memory, None, self._options.remember)

    def _lay(self, layered: LayeredRoot) -> str:
        """Have the nodes lay the engine's layers over one another; return how they have the root filesystem then."""
        path = self._container.rootfs
        while True:
            if not layered.prepare(self._children, keep=self._options.cache):
                self._log("debug", f"{path}: its layers can't be carried one by one")
                return PLAIN
            said = self._ask(layered.order)
            lacking = {node: {*map(int, answer[1].split(","))} for node, answer in said.items() if answer[0] == "lacks"}
            if lacking:
                if not self._fill(layered, lacking):
                    return PLAIN
                said = self._ask(layered.order)
            for node, answer in said.items():
                self._learn_mounts(node, answer[2:3])
            modes = {answer[1] for answer in said.values()}
            if modes <= {OVERLAY, COPY}:
                break
            for node, answer in said.items():
                if answer[1] not in (OVERLAY, COPY):
                    self._log("info", f"{node}: {' '.join(answer[3:])}: the layers of {path} are not used so")
            if "lost" not in modes or not layered.in_place:
                return PLAIN
            layered.in_place = frozenset()
        count, used = len(layered.used), len(layered.in_place)
        nodes = ", ".join(said)
        self._log("debug", f"{nodes} have the {count} layers of {path}, {used} in place: {layered.size} bytes go along")
        return max(modes, key=(OVERLAY, COPY).index)

    def _fill(self, layered: LayeredRoot, lacking: Mapping[str, Collection[int]]) -> bool:
        """Carry layers to the nodes that lack them; False if that can't be done so."""
        path = self._container.rootfs
        listed = layered.list_layers({number for numbers in lacking.values() for number in numbers})
        if listed is None:
            self._log("debug", f"{path}: a layer has files whose content is in another one")
            return False
        said = self._ask(f"room {' '.join(f'{number}={files.kilobytes}' for number, files in listed.items())}")
        if any(answer[0] == "plain" for answer in said.values()):
            self._log_plain(said)
            return False
        if not self._reach():
            return False
        self._log("info", f"carrying {len(listed)} layers of {path} to {', '.join(lacking)}")
        self._expected = sum(files.size for files in listed.values())
        if not self._send(layered, listed, list(lacking)):
            return False
        self._ask(layered.commit(listed))
        return True

    def _send(self, layered: LayeredRoot, listed: Mapping[int, LayerFiles], nodes: list[str]) -> bool:
        """Send layers to these nodes, and again to those that were cut off; False if nodes can't connect any more."""
        known = self._known()
        trees = 2 if len(nodes) > 1 and known.hand_on(nodes) and self._give_relays() else 0
        while nodes:
            few, trees = (fed_by_each(len(nodes)) if trees > 0 else 0), trees - 1
            self._order(f"fill {'tree' if few else 'star'}")
            with self._archiver(nodes, few) as archiver:
                for number, files in listed.items():
                    if not layered.archive_layer(archiver, number, files):
                        layered.forget_name(number)
                archiver.add_files({"complete": b""})
            said = self._hear()
            if any(answer[0] == "plain" for answer in said.values()):
                self._log_plain(said)
                return False
            cut = [node for node in nodes if said[node][0] == "cut"]
            if not cut:
                break
            known.learn_hand_nothing_on(cut)
            if {*nodes[few:]} <= {*cut}:
                trees = 0  # a firewall between the nodes
            self._log("info", f"{', '.join(cut)}: the stream was cut off ({' '.join(said[cut[0]][1:])}): once more")
            # Whose feeder was not cut off, or has itself not passed it on, feeds nobody in the next tree.
            feeder = {node: nodes[index // few - 1] if index >= few > 0 else "" for index, node in enumerate(nodes)}
            nodes = sorted(cut, key=lambda node: feeder[node] not in cut)
            if not self._reach():
                return False
        return True

    def _log_plain(self, said: Mapping[str, Sequence[str]]) -> None:
        """Tell why the root filesystem is carried without its layers."""
        for node, answer in said.items():
            if answer[0] == "plain":
                why = " ".join(answer[1:])
                self._log("info", f"{node}: {why}: {self._container.rootfs} is carried without being cached")

    def _give_relays(self) -> bool:
        """Give the nodes the program that hands a stream on; False if it runs on not all of them."""
        try:
            with open(NODE_PROGRAM, "rb") as file:
                program = file.read()
        except OSError:
            return False
        self._order(f"relay {os.urandom(32).hex()} {len(program)}")
        with contextlib.suppress(BrokenPipeError):
            while program:
                program = program[os.write(self._orders, program) :]
        return all(answer[0] == "relay" for answer in self._hear().values())

    def _learn_mounts(self, node: str, tried: Sequence[str]) -> None:
        if self._container.overlay and tried in (["yes"], ["no"]):
            self._known().learn_mounts_at_root([node], self._container.overlay, tried == ["yes"])

    def _reach(self) -> bool:
        """Have all nodes connect to this host; False if some can't."""
        if self._feed:
            self._feed.close()
            self._feed = None
        known = self._known()
        if known.is_cut_off(self._nodes):
            self._log("debug", "nodes could not connect to this host a while ago: srun carries it all")
            return False
        self._feed = Feed(self._step.ports, nodes=len(self._nodes))
        said = self._ask(f"reach {self._feed.port} {self._feed.token}")
        if all(answer[0] == "reached" for answer in said.values()):
            return self._feed.wait_for(self._nodes)
        if self._feed.visits <= 2 * len(self._nodes):  # else other connections may have kept the nodes out
            known.learn_cut_off([node for node, answer in said.items() if answer[1:] == ["silent"]])
        missing = ", ".join(node for node, answer in said.items() if answer[0] != "reached")
        self._log("debug", f"{missing} can't connect to port {self._feed.port} of this host: srun carries it all")
        return False

    @contextlib.contextmanager
    def _archiver(self, receivers: Sequence[str], few: int = 0) -> Iterator[Archiver]:
        """An archiver that writes to the connections of these nodes, or without any to all nodes through srun.

        With ``few`` it writes to so many only, and each hands it on to as many others.
        """
        output = self._orders
        if few and self._feed:
            receivers = self._feed.plant(receivers, few)
        if self._feed and (receivers or few):  # without any relay all nodes say that they were cut off
            read_end, output = os.pipe2(os.O_CLOEXEC)
            with contextlib.suppress(OSError):  # the user has many pipes
                fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, CHUNK)  # a pipe of 64 KB would wake two processes more often
            self._feed.send(read_end, receivers, needs_all=not few)
        try:
            yield self._new_archiver(output, wide=output != self._orders)
        finally:
            if output != self._orders:
                os.close(output)

    def _new_archiver(self, output: int, *, wide: bool = False) -> Archiver:
        return Archiver(
            self._children,
            output,
            self._check,
            self._log,
            xattrs=node_directory.xattrs(self._container),
            devices=self._container.devices,
            wide=wide,
        )

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
        self._write(order.encode() + b"\n")

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._orders, data) :]
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
