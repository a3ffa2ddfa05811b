"""What staging is given, and what it leaves behind for whoever undoes it."""

from __future__ import annotations

from scrun.staging.traces import Traces

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, NamedTuple, Protocol

    from scrun.staging.root_mounts import Trial
    from scrun.staging.sources import Source

    # (level, message): one of scrun's level names, "error", "info", "verbose", "debug".
    Log = Callable[[str, str], None]
else:
    from scrun.named_tuple import NamedTuple

    Protocol = object


class Step(Protocol):
    """Runs commands on the job's nodes, as the job's user. The caller implements it over ``srun --overlap``."""

    @property
    def nodes(self) -> list[str]:
        """The job's nodes, by the names that Slurm has for them."""

    @property
    def ports(self) -> tuple[int, int]:
        """The first and the last that nodes can connect to on this host, (0, 0) for any (SrunPortRange)."""

    def start(
        self,
        argv: Sequence[str],
        *,
        name: str,
        stdin: int,
        stdout: int,
        stderr: int,
        nodes: Sequence[str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start one task per node (None: on all), in a step with the name scrun-``name``.

        stdin goes to every task; stdout is what they all print.
        """

    def launches(self, bundle: str, args: Sequence[str]) -> bool | None:
        """Whether slurmstepd takes the bundle on all nodes, whatever becomes of the container; None: it isn't known."""


class Fit(Protocol):
    """Changes the content of the small files that are mounted at the destinations ``files``."""

    @property
    def files(self) -> Sequence[str]:
        """Absolute paths in the container."""

    def __call__(self, destination: str, data: bytes) -> bytes:
        """What is to be in it."""


class Beside(NamedTuple):
    """A file for the bundle, and what tells a config of it, given the bundle's path on the nodes."""

    name: str
    content: bytes
    tell: Callable[[dict[str, Any], str], dict[str, Any]]


PROGRAM = "task-prolog"  # the name of the one file in a bundle that is executable


class Container(NamedTuple):
    """A container as its caller described it, on the login host."""

    id: str
    bundle: str
    rootfs: str
    config: dict[str, Any]
    job_id: int
    user_id: int
    group_id: int
    memory: str = ""  # the file that remembers what nodes see; "" when nothing is to be remembered
    images: str = ""  # a directory for listings of what was carried; "" when nodes aren't to cache anything
    overlay: Trial | None = None  # of the nodes' runtime with an overlay as root filesystem; None: none may be used
    devices: bool = False  # whether device nodes of the root filesystem and of volumes are of use: root's, privileged
    fence: Trial | None = None  # the same with a bind mount, where device nodes would work without; None: no need
    node_dir: str = "/tmp"  # noqa: S108  nodes.py refuses what another user may have put there
    mounted: Mapping[str, Source] = {}  # what the engine has mounted for this container alone: see sources.py


class Part(NamedTuple):
    """One directory or file that was carried: ``source`` on the login host, ``name`` in the node's directory."""

    name: str
    source: str
    is_directory: bool
    writable: bool
    inode: int = 0  # what is there, and on which file system (statvfs(3), f_fsid); 0 when that isn't known
    fsid: int = 0
    recursive: bool = False  # with what is mounted in it


class Copy(NamedTuple):
    """A small file that was copied into the spool, and what it looked like then."""

    path: str
    source: str
    size: int
    mtime_ns: int


class Text(NamedTuple):
    """A small file that was copied, at ``path`` of the nodes; ``crc`` is of what is there (binascii.crc32)."""

    path: str
    source: str
    destination: str
    crc: int


class Staged(NamedTuple):
    """Where the container's files are now. ``bundle`` and ``rootfs`` are the nodes' paths."""

    bundle: str
    rootfs: str
    spool: str = ""  # on the login host, and shared with the nodes; "" when nothing was written there
    node_parent: str = (
        ""  # a directory of every node that others may write to, such as /tmp; "" when nothing was carried
    )
    node_home: str = ""  # what stands in the place of scrun-UID below it, where somebody else has that name
    node_name: str = ""  # ours, below that
    nodes: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    copies: tuple[Copy, ...] = ()
    texts: tuple[Text, ...] = ()
    beside: str = ""  # the path of that file on the nodes
    seen: tuple[str, ...] = ()  # the sources of bind mounts that the nodes have as they are here
    traces: Traces | None = None  # what Slurm leaves in the root filesystem

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the state file."""
        return self._asdict() | {
            "nodes": list(self.nodes),
            "parts": [list(part) for part in self.parts],
            "copies": [list(copy) for copy in self.copies],
            "texts": [list(text) for text in self.texts],
            "seen": list(self.seen),
            "traces": list(self.traces or ()),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Staged:
        """The inverse of :meth:`to_dict`; keys that another version added are ignored."""
        known = {key: value for key, value in data.items() if key in cls._fields}
        known["nodes"] = tuple(known.get("nodes", ()))
        known["parts"] = tuple(Part(*part) for part in known.get("parts", ()))
        known["copies"] = tuple(Copy(*copy) for copy in known.get("copies", ()))
        known["texts"] = tuple(Text(*text) for text in known.get("texts", ()))
        known["seen"] = tuple(known.get("seen", ()))
        known["traces"] = Traces(*known["traces"]) if known.get("traces") else None
        return cls(**known)
