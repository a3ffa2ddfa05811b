"""Remember for a while what the nodes see, so that not every container has to ask them.

Mounts of this host are remembered, not paths, because a node that has a mount of the same server sees everything in it.
If a node loses such a mount meanwhile, the container's step fails to start, with the node's own message, and the
memory is deleted.

Also remembered: that a node runs containers (:mod:`scrun.staging.probe`), and that a node doesn't have a disk of this
host, mostly docker's own directory.
"""

from __future__ import annotations

import os
import time

from scrun import fastjson, identity
from scrun.staging.filesystems import HOST_ONLY_TYPES, LOCAL_TYPES
from scrun.staging.mountinfo import MountTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scrun.staging.children import Interruption
    from scrun.staging.model import NodeSteps
    from scrun.staging.root_mounts import Trial

SECONDS = 600
_OTHER_HOST, _LACKS, _SILENT = "is another host", "lacks", "gets no answer from us"
_RUNS = "runs containers"
_CARRIES = "gets the files of"
_HAS_TUN = "has what a container on the engine's network needs"
_CUT_OFF = "gets no stream from other nodes"
_OPEN, _CLOSED = "lets root read", "lets root not read"
_MOUNTS, _MOUNTS_NONE = "mounts at / by", "mounts nothing at / by"
NAME = ".seen-by-nodes.json"  # a file in the user's --root directory; no container's id begins with a dot


class Known:
    """One user's file with the last time (seconds since 1970) at which each node was seen to have a mount.

    Args:
        path: the file; "" to remember nothing.
        mounts: this host's mounts.
        seconds: how long an entry counts.
    """

    def __init__(self, path: str, mounts: MountTable | None, seconds: int = SECONDS) -> None:
        self._path, self._mounts, self._seconds = path, mounts, seconds
        self._seen = self._read()

    def _read(self) -> dict[str, int]:
        try:
            with open(self._path, encoding="utf-8", errors="surrogateescape") as file:
                read = fastjson.loads(file.read())
            now = int(time.time())
            return {key: when for key, when in read.items() if 0 <= now - when < self._seconds}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}  # no file yet, or a damaged one

    def says(self, path: str, nodes: Sequence[str]) -> bool:
        """Whether all nodes are known to have the mount that the path is on."""
        mount = self._mount(path)
        return bool(mount) and all(f"{node} {mount}" in self._seen for node in nodes)

    def denies(self, path: str, nodes: Sequence[str]) -> bool:
        """Whether some node is known not to have the path's mount: a disk of this host, or a file system in memory."""
        if self._is_in_memory(path):
            return any(f"{node} {_OTHER_HOST}" in self._seen for node in nodes)
        mount = self._mount(path)
        return any(f"{node} {_LACKS} {mount}" in self._seen for node in nodes)

    def learn(self, seen: Iterable[str], unseen: Iterable[str], nodes: Sequence[str]) -> None:
        """Remember which paths all nodes see, and which paths (``unseen``) some of them don't."""
        now = int(time.time())
        fresh = {f"{node} {mount}": now for path in seen if (mount := self._mount(path)) for node in nodes}
        if len(nodes) == 1:  # of several nodes it isn't known which one lacks the path
            node = nodes[0]
            for path in unseen:
                mount = self._mount(path)
                if self._is_in_memory(path):
                    fresh[f"{node} {_OTHER_HOST}"] = now
                elif self.is_local(path) and f"{node} {mount}" not in self._seen | fresh:
                    fresh[f"{node} {_LACKS} {mount}"] = now
        self._add(fresh)

    def run_containers(self, nodes: Sequence[str]) -> bool:
        """Whether all nodes are known to run containers."""
        return all(f"{node} {_RUNS}" in self._seen for node in nodes)

    def learn_run_containers(self, nodes: Sequence[str]) -> None:
        """Remember that these nodes run containers."""
        self._add(dict.fromkeys((f"{node} {_RUNS}" for node in nodes), int(time.time())))

    def carries(self, container: str, bundle: str, nodes: Sequence[str]) -> bool:
        """Whether files were carried to all nodes for the last container whose bundle lay where this one's does."""
        return all(f"{node} {_CARRIES} {_place(container, bundle)}" in self._seen for node in nodes)

    def learn_carries(self, container: str, bundle: str, nodes: Sequence[str]) -> None:
        """Remember that files were carried to these nodes for that container."""
        if not self.carries(container, bundle, nodes):
            self._add(
                dict.fromkeys((f"{node} {_CARRIES} {_place(container, bundle)}" for node in nodes), int(time.time()))
            )

    def forget_carries(self, container: str, bundle: str, nodes: Sequence[str]) -> None:
        """Remember that none were."""
        self._add(dict.fromkeys((f"{node} {_CARRIES} {_place(container, bundle)}" for node in nodes), 0))

    def have_tun(self, nodes: Sequence[str]) -> bool:
        """Whether all nodes are known to have what the engine's network needs (:mod:`scrun.staging.tun`)."""
        return all(f"{node} {_HAS_TUN}" in self._seen for node in nodes)

    def learn_have_tun(self, nodes: Sequence[str]) -> None:
        """Remember that these nodes have that."""
        self._add(dict.fromkeys((f"{node} {_HAS_TUN}" for node in nodes), int(time.time())))

    def mounts_at_root(self, nodes: Sequence[str], trial: Trial) -> bool | None:
        """Whether the runtimes of all nodes are known to pass the trial; False if one fails it, None if unknown."""
        kind = f"{trial.kind} with {trial.runtime}"
        if any(f"{node} {_MOUNTS_NONE} {kind}" in self._seen for node in nodes):
            return False
        return all(f"{node} {_MOUNTS} {kind}" in self._seen for node in nodes) or None

    def learn_mounts_at_root(self, nodes: Sequence[str], trial: Trial, does: bool) -> None:
        """Remember a trial's result; a failure only of a single node, because of several any may have failed."""
        if does or len(nodes) == 1:
            what = f"{_MOUNTS if does else _MOUNTS_NONE} {trial.kind} with {trial.runtime}"
            self._add(dict.fromkeys((f"{node} {what}" for node in nodes), int(time.time())))

    def hand_on(self, nodes: Sequence[str]) -> bool:
        """Whether none of the nodes was cut off from a stream that other nodes handed on."""
        return not any(f"{node} {_CUT_OFF}" in self._seen for node in nodes)

    def learn_hand_nothing_on(self, nodes: Sequence[str]) -> None:
        """Remember that these nodes were cut off from such a stream."""
        self._add(dict.fromkeys((f"{node} {_CUT_OFF}" for node in nodes), int(time.time())))

    def is_open_to_root(self, path: str, nodes: Sequence[str]) -> bool | None:
        """Whether root on all nodes is known to read the files that the user can read at the path; None if unknown."""
        mount = self._mount(path)
        if any(f"{node} {_CLOSED} {mount}" in self._seen for node in nodes):
            return False
        return (bool(mount) and all(f"{node} {_OPEN} {mount}" in self._seen for node in nodes)) or None

    def learn_open_to_root(self, path: str, nodes: Sequence[str], is_open: bool) -> None:
        """Remember whether root can read the path, for all nodes, because one file server treats them alike."""
        if mount := self._mount(path):
            what = _OPEN if is_open else _CLOSED
            self._add(dict.fromkeys((f"{node} {what} {mount}" for node in nodes), int(time.time())))

    def is_cut_off(self, nodes: Sequence[str]) -> bool:
        """Whether some node is known not to reach this host, because a firewall drops its connections for seconds."""
        return any(f"{node} {_SILENT}" in self._seen for node in nodes)

    def learn_cut_off(self, nodes: Sequence[str]) -> None:
        """Remember that these nodes cannot connect to this host."""
        self._add(dict.fromkeys((f"{node} {_SILENT}" for node in nodes), int(time.time())))

    def _add(self, fresh: dict[str, int]) -> None:
        if not fresh or not self._seconds or not self._path:
            return
        self._seen = self._read() | fresh  # other processes write the file too
        temporary = f"{self._path}.{os.getpid()}"
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                file.write(fastjson.dumps(self._seen))
            os.rename(temporary, self._path)
        except OSError:
            pass  # the next container asks again

    def _is_in_memory(self, path: str) -> bool:
        return self._type(path) in HOST_ONLY_TYPES

    def is_local(self, path: str) -> bool:
        """Whether the path is on a file system that belongs to one running kernel."""
        return self._type(path) in LOCAL_TYPES

    def _type(self, path: str) -> str:
        mount = self._mounts.covering(os.path.realpath(path)) if self._mounts else None
        return mount.fstype if mount else ""

    def _mount(self, path: str) -> str:
        mount = self._mounts.covering(os.path.realpath(path)) if self._mounts else None
        return f"{mount.device} {mount.root} {mount.point} {mount.fstype}" if mount else ""


def _place(container: str, bundle: str) -> str:
    """What the bundles of an engine's containers have in common."""
    return bundle.partition(container)[0]


def require_containers(
    step: NodeSteps, known: Known, interruption: Interruption | None = None, trial: Trial | None = None
) -> bool | None:
    """Ask the nodes whether they run containers and pass ``trial``, unless both are known.

    Returns:
        Whether the nodes' runtimes pass the trial; None without a trial, or if a node could not try.

    Raises:
        StagingError: a node runs no containers, or didn't answer.
    """
    mounts = known.mounts_at_root(step.nodes, trial) if trial else None
    if not known.run_containers(step.nodes) or (trial and mounts is None):
        from scrun.staging.probe import probe

        _, mounts = probe(step, (), interruption, trial if mounts is None else None)
        known.learn_run_containers(step.nodes)
        if trial and mounts is not None:
            known.learn_mounts_at_root(step.nodes, trial, mounts)
    return mounts


def memory() -> str:
    """The path of the caller's file; "" if it can't be made, so that every container asks."""
    root = identity.default_root()
    try:
        os.makedirs(root, 0o700, exist_ok=True)
    except OSError:
        return ""
    return os.path.join(root, NAME)


def forget(path: str) -> None:
    """Delete the file, so that the next container asks again."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
