"""The data that staging takes, and the data that it returns for stage_out and discard."""

from __future__ import annotations

from scrun.staging.traces import Traces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, NamedTuple, Protocol, TypedDict

    from scrun.oci import Config
    from scrun.staging.child import Process, Standing
    from scrun.staging.mount_sources import MountSource
    from scrun.staging.root_mounts import Trial

    class StagedData(TypedDict, total=False):
        """A :class:`Staged` as JSON, in the container's record: tuples are lists."""

        bundle: str
        rootfs: str
        spool: str
        node_parent: str
        node_home: str
        node_name: str
        nodes: list[str]
        parts: list[list[Any]]  # Part
        copies: list[list[Any]]  # Copy
        texts: list[list[Any]]  # Text
        seen: list[str]
        traces: list[Any]  # Traces, or empty

    # (level, message): one of scrun's level names, "error", "info", "verbose", "debug".
    LogCall = Callable[[str, str], None]
else:
    from scrun.named_tuple import NamedTuple

    Protocol = object


class NodeSteps(Protocol):
    """The job's nodes, and commands on them as the job's user; the caller implements it by ``srun --overlap``."""

    standing: Standing | None = None  # the step that has carried the files, as long as it is there
    early: Standing | None = None  # a step that was started for that before it was known what to carry

    @property
    def nodes(self) -> list[str]:
        """The names of the job's nodes, as Slurm has them."""

    @property
    def ports(self) -> tuple[int, int]:
        """The first and the last port of this host that nodes can connect to, (0, 0) for any (SrunPortRange)."""

    def start(
        self,
        argv: Sequence[str],
        *,
        name: str,
        stdin: int,
        stdout: int,
        stderr: int,
        nodes: Sequence[str] | None = None,
    ) -> Process:
        """Start one task on each of ``nodes``, or of all nodes, in a step with the name scrun-``name``.

        Every task reads the same stdin, which may be :data:`scrun.program.QUIET`; stdout has the output of all tasks.
        """

    def launches(self, bundle: str, args: Sequence[str]) -> bool | None:
        """Whether slurmstepd accepts the bundle on all nodes, even if the container then fails; None if unknown."""


class FitContent(Protocol):
    """A function that changes the content of small files mounted at the destinations ``files``."""

    @property
    def files(self) -> Sequence[str]:
        """Absolute paths in the container."""

    def __call__(self, destination: str, data: bytes) -> bytes:
        """Return the new content of the file at ``destination``."""


class Beside(NamedTuple):
    """A further file of the bundle. ``content`` makes it, given the user's directories of carried files on the nodes;
    ``tell`` adds it to a config, given the bundle's path on the nodes."""

    name: str
    content: Callable[[Sequence[str]], bytes]
    tell: Callable[[Config, str], Config]


PROGRAM = "task-prolog"  # the name of a bundle's task prolog
NODE_PROGRAM = "scrun-node"  # the name of the bundle's program for the node (docs/protocol.md)
EXECUTABLE = (PROGRAM, NODE_PROGRAM)


class ContainerFiles(NamedTuple):
    """A container whose files are staged, as it is on the login host."""

    id: str
    bundle: str
    rootfs: str
    config: Config
    job_id: int
    user_id: int
    group_id: int
    memory: str = ""  # the file of known.py, which remembers what nodes see; "" to remember nothing
    lists: str = ""  # a directory for lists of other users' files in layers; "" to keep none
    overlay: Trial | None = None  # the trial of an overlay as root filesystem; None: no overlay may be used
    devices: bool = False  # whether device nodes in the root filesystem and in volumes work: privileged, root's
    fence: Trial | None = None  # the trial of a bind mount at /, which disables device nodes; None: not needed
    node_dir: str = "/tmp"  # noqa: S108  node_directory.py refuses another user's directories and links there
    removed: bool = False  # whether the engine removes the root filesystem at the container's end (run --rm)
    mounted: Mapping[str, MountSource] = {}  # mounts that the engine made for this container alone: mount_sources.py


class Part(NamedTuple):
    """A carried directory or file: ``source`` on the login host, ``name`` in the node's directory."""

    name: str
    source: str
    is_directory: bool
    writable: bool
    inode: int = 0  # of the source; with fsid (statvfs(3), f_fsid) its identity; both are 0 when unknown
    fsid: int = 0
    recursive: bool = False  # whether mounts below the source are carried too


class Copy(NamedTuple):
    """A small file that was copied into the spool, with the copy's size and mtime."""

    path: str
    source: str
    size: int
    mtime_ns: int


class Text(NamedTuple):
    """A small file that was copied to ``path`` on the nodes; ``crc`` is the copy's checksum (binascii.crc32)."""

    path: str
    source: str
    destination: str
    crc: int


class Staged(NamedTuple):
    """Where a container's files are after stage_in. ``bundle`` and ``rootfs`` are the nodes' paths."""

    bundle: str
    rootfs: str
    spool: str = ""  # the spool's path, on the login host and on the nodes; "" without a spool
    node_parent: str = ""  # NODE_DIR: a directory of every node, such as /tmp; "" when nothing was carried
    node_home: str = ""  # the name below it in place of scrun-UID, if another user has taken scrun-UID; else ""
    node_name: str = ""  # the name of the container's directory below that
    nodes: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    copies: tuple[Copy, ...] = ()
    texts: tuple[Text, ...] = ()
    seen: tuple[str, ...] = ()  # sources of bind mounts that the nodes see
    traces: Traces | None = None  # the directories that Slurm leaves in the root filesystem

    def to_dict(self) -> StagedData:
        """Plain data for the container's record."""
        return {
            "bundle": self.bundle,
            "rootfs": self.rootfs,
            "spool": self.spool,
            "node_parent": self.node_parent,
            "node_home": self.node_home,
            "node_name": self.node_name,
            "nodes": list(self.nodes),
            "parts": [list(part) for part in self.parts],
            "copies": [list(copy) for copy in self.copies],
            "texts": [list(text) for text in self.texts],
            "seen": list(self.seen),
            "traces": list(self.traces or ()),
        }

    @classmethod
    def from_dict(cls, data: StagedData) -> Staged:
        """Parse the result of :meth:`to_dict`; keys of other versions are ignored."""
        return cls(
            bundle=data["bundle"],
            rootfs=data["rootfs"],
            spool=data.get("spool", ""),
            node_parent=data.get("node_parent", ""),
            node_home=data.get("node_home", ""),
            node_name=data.get("node_name", ""),
            nodes=tuple(data.get("nodes", ())),
            parts=tuple(Part(*part) for part in data.get("parts", ())),
            copies=tuple(Copy(*copy) for copy in data.get("copies", ())),
            texts=tuple(Text(*text) for text in data.get("texts", ())),
            seen=tuple(data.get("seen", ())),
            traces=Traces(*data["traces"]) if data.get("traces") else None,
        )
