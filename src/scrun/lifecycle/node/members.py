"""Ask the nodes about a container's processes.

A shell script in a job step finds the processes that are in the pid or mount namespace of the container's first
process, because a process of exec is no descendant of the first one. It also finds the descendants of all these,
because they may be in namespaces of their own. A namespace that the container shares with its node is not searched.
"""

from __future__ import annotations

from scrun.errors import NodeRuntimeError, WrongStatus
from scrun.lifecycle.node import overlap
from scrun.marks import MARK, texts
from scrun.node_scripts import read_script
from scrun.slurm import srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from scrun.lifecycle.container.record import Record

else:
    from scrun.named_tuple import NamedTuple

_MEMBERS = read_script("members")
_ANSWER = f"mark={MARK}{read_script('answer')}"


class Answer(NamedTuple):
    """A node's answer: the exit status of the function there, and all that it printed."""

    status: int
    text: str


def script(record: Record, rest: str) -> str:
    """A shell script for a node: ``rest``, behind the functions of node_scripts/members.sh.

    Raises:
        NodeRuntimeError: oci.conf doesn't tell how the node's runtime is called.
    """
    program, name = overlap.runtime(record)
    text = _MEMBERS + rest
    return text.replace("@TASKS@", overlap.tasks(record)).replace("@PROGRAM@", program).replace("@NAME@", name)


def ask_nodes(record: Record, step: str, answer: str, *words: str) -> dict[str, Answer]:
    """Run a shell function on each node of the job; return the answers by the nodes' names, which are sorted.

    Args:
        record: the container's; it has the nodes.
        step: the step's name, without ``scrun-``.
        answer: the function's body, which may call the functions of node_scripts/members.sh.
        words: the function's ``$1`` and so on.

    Raises:
        NodeRuntimeError: the nodes can't be asked.
    """
    text = script(record, f"answer() {{\n{answer}\n}}\n{_ANSWER}")
    finished = overlap.run_step(record, step, text, *(words or ("",)), nodes=srun.expand_nodes(record["nodes"]))
    answers = decode(finished.stdout)
    if finished.returncode or not answers:
        lines = finished.stderr.decode("utf-8", "replace").strip().splitlines()
        lines = [line for line in lines if line.startswith(("srun: error: ", "srun: fatal: "))] or lines
        why = lines[-1].removeprefix("srun: ").removeprefix("error: ") if lines else f"status {finished.returncode}"
        raise NodeRuntimeError(f"can't ask the nodes of job {record['job']} ({record['nodes']}): {why}")
    return answers


def decode(printed: bytes) -> dict[str, Answer]:
    """The answers in the nodes' output, whose lines may come in any order."""
    from binascii import a2b_base64

    pieces: dict[str, str] = {}
    for text in texts(printed):
        name, _, piece = text.partition(" ")
        pieces[name] = pieces.get(name, "") + piece
    answers = {}
    for name in sorted(pieces):
        status, _, text = a2b_base64(pieces[name]).decode("utf-8", "replace").partition("\n")
        answers[name] = Answer(int(status), text)
    return answers


def check_there(record: Record, container_id: str) -> None:
    """Check that the container has nodes.

    Raises:
        WrongStatus: its job is queued.
    """
    if not record.get("nodes"):
        raise WrongStatus(f"container {container_id!r} has no processes yet: job {record.get('job')} is queued")
