"""The directory of a container on each node, NODE_DIR/scrun-UID/JOB-ID, and the scripts that work in it (node_scripts).

NODE_DIR is usually /tmp, where others can write (:mod:`scrun.staging.own_directory`). If another user has taken the
name scrun-UID on a node, a random name replaces it on all nodes, for this container alone (:func:`other_home`).
"""

from __future__ import annotations

import binascii
import os

from scrun.errors import StagingError
from scrun.marks import MARK, texts
from scrun.node_scripts import read_script
from scrun.program import QUIET
from scrun.staging.children import Children
from scrun.staging.own_directory import GO_TO
from scrun.staging.spool import short_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scrun.staging.child import Child
    from scrun.staging.children import Interruption
    from scrun.staging.model import ContainerFiles, NodeSteps

# The parts and the scripts; each file of node_scripts describes its arguments and its answers.
LACKS = read_script("lacks")
ENTER = f"\nmark={MARK}" + read_script("enter") + GO_TO
REACH = read_script("reach")
SEND = ENTER + REACH + read_script("send")
_RENEW = ENTER + read_script("renew")
_REMOVE = ENTER + read_script("remove")
_KEEP = ENTER + read_script("keep")


def node_name(container: ContainerFiles) -> str:
    """The name of the container's directory on a node."""
    return short_name(f"{container.job_id}-{container.id}")


def node_path(container: ContainerFiles, parent: str, home: str = "") -> str:
    """The path of the container's directory on every node; ``home`` is :func:`other_home`'s name, or empty."""
    return f"{parent.rstrip('/')}/{home or f'scrun-{container.user_id}'}/{node_name(container)}"


def short_path(container: ContainerFiles, parent: str, home: str = "") -> str:
    """A short link to the directory ``l`` in the container's directory on every node; no container's id has a tilde."""
    name = f"{container.job_id}-{binascii.crc32(container.id.encode()):08x}~l"
    return f"{parent.rstrip('/')}/{home or f'scrun-{container.user_id}'}/{name}"


def other_home(container: ContainerFiles) -> str:
    """A random name in place of scrun-UID, which has the job's id, so that a site's Epilog finds it."""
    return f"scrun-{container.user_id}-{container.job_id}-{os.urandom(8).hex()}"


def xattrs(container: ContainerFiles) -> str:
    """The extended attributes that the job's user can restore: "*" for root, else "user.*"."""
    return "*" if container.user_id == 0 else "user.*"


_BASH = 'command -v bash >/dev/null && exec bash -c "$0" "$@"; exec sh -c "$0" "$@"'


def script_argv(script: str, parent: str, home: str, name: str, *arguments: str) -> list[str]:
    """The argv of a script. Names are arguments, never shell text."""
    return ["sh", "-c", script, "scrun-stage", parent, home, name, *arguments]


def bash_argv(script: str, *arguments: str) -> list[str]:
    """The argv of a script that runs in bash where the node has it, because bash can connect (/dev/tcp)."""
    return ["sh", "-c", _BASH, script, "scrun-stage", *arguments]


def remove_directory(
    step: NodeSteps,
    parent: str,
    home: str,
    name: str,
    *,
    hosts: Sequence[str] = (),
    seconds: float = 60,
    interruption: Interruption | None = None,
) -> None:
    """Remove the container's directory from ``hosts``, or from all nodes; a missing directory is no error.

    Raises:
        StagingError: a node that failed, and why.
    """
    hosts = hosts or step.nodes
    with Children(interruption) as children:
        child = children.step(step, "remove", script_argv(_REMOVE, parent, home, name), stdin=QUIET, nodes=hosts)
        if not children.wait(seconds=seconds):
            raise StagingError(
                f"no answer from {', '.join(hosts)} within {seconds:.0f} s: files may be left in {parent}"
            )
        require_success(child, child.process.wait(), hosts)


def keep_changes(
    step: NodeSteps, parent: str, home: str, name: str, *, hosts: Sequence[str], seconds: float = 20
) -> str:
    """Rename the container's directory on ``hosts`` so that its name doesn't begin with the job's id.

    Returns:
        The new name.

    Raises:
        StagingError: a node that failed, and why.
    """
    with Children() as children:
        child = children.step(step, "keep", script_argv(_KEEP, parent, home, name), stdin=QUIET, nodes=hosts)
        if not children.wait(seconds=seconds):
            raise StagingError(f"no answer from {', '.join(hosts)} about {parent} within {seconds:.0f} s")
        require_success(child, child.process.wait(), hosts)
    return f"kept-{name}"


def write_again(step: NodeSteps, parent: str, home: str, name: str, files: Mapping[str, bytes]) -> None:
    """Write small carried files once more on all nodes; ``files`` are contents by path.

    Raises:
        StagingError: a node that failed, and why.
    """
    from binascii import b2a_base64

    with Children() as children, open(os.memfd_create("renewed"), "wb") as stream:
        for path, data in files.items():
            stream.write(f"{path}\n".encode() + b2a_base64(data))
        stream.write(b"end\n")
        stream.seek(0)
        child = children.step(step, "renew", script_argv(_RENEW, parent, home, name), stdin=stream.fileno())
        if children.wait_for(lambda: have_answered(child, step.nodes)):
            require_success(child, 0, step.nodes)
            children.let_go(child)
        else:
            require_success(child, child.process.wait(), step.nodes)


def runs_none(node: str, file: str) -> str:
    """The error message for a node that lacks ``file`` (:data:`LACKS`)."""
    return (
        f"{node} has no {file}: without it slurmd runs the program on the node itself and not in a container: "
        "give the node that file, or name other nodes (SCRUN_JOB_NODELIST)"
    )


def refusals(child: Child) -> list[str]:
    """Error messages of the nodes so far."""
    said = answers(child).items()
    return [f"{host}: {what[4:]}" for host, what in said if what.startswith("bad ")] + [
        runs_none(host, what[5:]) for host, what in said if what.startswith("bare ")
    ]


def require_success(child: Child, status: int, nodes: Sequence[str]) -> None:
    """Raise StagingError unless every node has answered "ok" and the step's ``status`` is 0."""
    refused = refusals(child)
    if refused:
        raise StagingError("; ".join(refused))
    silent = {node for node in nodes if answers(child).get(node) != "ok"}
    if silent or status:
        raise StagingError(
            f"{', '.join(sorted(silent) or nodes)}: staging failed with status {status}: {child.words() or 'no answer'}"
        )


def have_answered(child: Child, nodes: Sequence[str]) -> bool:
    """Whether every node has answered "ok"."""
    return child.out.endswith(b"\n") and all(answers(child).get(node) == "ok" for node in nodes)


def answers(child: Child) -> dict[str, str]:
    """The last answer of each node."""
    return dict(lines(child))


def lines(child: Child) -> Iterator[tuple[str, str]]:
    """Each complete answer so far, with its node."""
    for text in texts(bytes(child.out)):
        node, _, answer = text.partition(" ")
        yield node, answer
