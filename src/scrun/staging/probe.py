"""Ask all nodes in one step whether they see the same files as this host, and whether they run containers.

The existence of a path proves little: an overlay that is mounted in podman's own namespace is an empty directory for a
node, and a node may have another or a stale file of that name. So both sides describe the file (:data:`_SCRIPT`), and
:func:`_same` compares the descriptions.

Without oci.conf on a node slurmd runs a container step's command on the node itself, outside of any container (Slurm
26.05 tells it in a debug message only). So each node tells whether it has the file before such a step is started.
"""

from __future__ import annotations

import stat

from scrun.errors import StagingError
from scrun.marks import SAY, texts
from scrun.node_scripts import read_script
from scrun.program import QUIET
from scrun.staging import facts, node_directory
from scrun.staging.child import Child
from scrun.staging.children import Children, Interruption
from scrun.staging.facts import Facts
from scrun.staging.filesystems import LOCAL_MAGIC
from scrun.staging.root_mounts import TRY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrun.staging.model import NodeSteps
    from scrun.staging.root_mounts import Trial

_SCRIPT = SAY + TRY + read_script("probe").replace("@LACKS@", node_directory.LACKS)


def probe(
    step: NodeSteps, paths: Sequence[str], interruption: Interruption | None = None, trial: Trial | None = None
) -> tuple[list[bool], bool | None]:
    """Ask all nodes of the job about paths, and try their runtimes.

    Returns:
        For each path whether every node has the same file there, readable by the job's user; and whether the runtimes
        of all nodes pass ``trial``, None without a trial or if a node could not try.

    Raises:
        StagingError: the step failed, a node didn't answer, or a node runs no containers.
    """
    argv = ["sh", "-c", _SCRIPT, "sh", *(trial[1:] if trial else ("", "")), *paths]
    with Children(interruption) as children:
        child = children.step(step, "probe", argv, stdin=QUIET)
        ours = facts.describe(paths)  # while the step is on its way
        if children.wait_for(lambda: _is_complete(child, step, paths)):
            children.let_go(child)  # all answers are here, and the step takes as long again to end
            status = 0
        else:
            status = child.process.wait()
    answers, lacking, mounts = _parse(bytes(child.out))
    if lacking:
        raise StagingError("; ".join(node_directory.runs_none(node, file) for node, file in sorted(lacking.items())))
    missing = [node for node in step.nodes if node not in answers]
    if status or missing:
        raise StagingError(
            f"looking for the container's files on {', '.join(missing or step.nodes)} failed with status {status}: "
            f"{child.words() or 'no answer'}"
        )
    same = [all(_same(fact, node.get(index)) for node in answers.values()) for index, fact in enumerate(ours)]
    return same, None if "-" in mounts else mounts == {"yes"}


def _is_complete(child: Child, step: NodeSteps, paths: Sequence[str]) -> bool:
    """Whether every node has answered, for itself and for every path."""
    return sum(1 for _ in texts(bytes(child.out))) >= len(step.nodes) * (2 + len(paths))


def _same(ours: Facts | None, theirs: Facts | None) -> bool:
    if ours is None or theirs is None or stat.S_IFMT(ours.mode) != stat.S_IFMT(theirs.mode):
        return False
    if ours.boot == theirs.boot:
        # The same kernel has one inode number for each file.
        return (ours.device, ours.inode) == (theirs.device, theirs.inode)
    if ours.is_local and theirs.is_local:
        # Two machines installed from one image may have different files with the same inodes and times.
        return False
    if ours.inode != theirs.inode:
        return False
    # An NFS client's cached attributes may be old in one value; another file differs in all of them.
    if stat.S_ISDIR(ours.mode):
        return ours.mtime == theirs.mtime or (ours.names == theirs.names and ours.names != "-")
    return (ours.mtime, ours.size) == (theirs.mtime, theirs.size)


def _parse(output: bytes) -> tuple[dict[str, dict[int, Facts]], dict[str, str], set[str]]:
    """The answers by node and index, the files that nodes lack, and the results of their trials."""
    answers: dict[str, dict[int, Facts]] = {}
    lacking: dict[str, str] = {}
    mounts: set[str] = set()
    for text in texts(output):
        words = text.split()
        node = answers.setdefault(words[0], {})
        if words[1] == "lacks" and words[2] != "-":
            lacking[words[0]] = " ".join(words[2:])
        elif words[1] == "mounts":
            mounts.add(words[2])
        if len(words) == 10:
            boot, index, fstype, names, device, inode, mode, size, mtime = words[1:]
            local = fstype in LOCAL_MAGIC
            node[int(index)] = Facts(boot, local, names, int(device), int(inode), int(mode, 16), int(size), mtime)
    return answers, lacking, mounts
