"""Which processes of a node are a container's, and what the nodes say of them.

Found by a shell script in a job step beside the container: those in the pid or the mount namespace of its first process
(a process that was exec'd into it is nobody's descendant there), and their descendants, which may have gone into
namespaces of their own. A namespace that the container shares with its node tells nothing, and isn't asked.
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
    """One node's: the exit status of what was asked there, and all that it printed."""

    status: int
    text: str


def script(record: Record, rest: str) -> str:
    """A shell script for a node, which knows ``find_members`` and ``each``, and then does the rest.

    Raises:
        NodeRuntimeError: oci.conf doesn't say how the node's runtime is asked.
    """
    program, name = overlap.runtime(record)
    text = _MEMBERS + rest
    return text.replace("@TASKS@", overlap.tasks(record)).replace("@PROGRAM@", program).replace("@NAME@", name)


def ask_nodes(record: Record, step: str, answer: str, *words: str) -> dict[str, Answer]:
    """Have each node of the job answer; the answers by the nodes' names, in the order of the names.

    Args:
        record: the container's, which has its nodes.
        step: the step's name, behind ``scrun-``.
        answer: the body of a shell function; ``find_members`` is there, and ``words`` are ``$1`` and so on.

    Raises:
        NodeRuntimeError: the nodes can't be asked.
    """
    text = script(record, f"answer() {{\n{answer}\n}}\n{_ANSWER}")
    done = overlap.run(record, step, text, *(words or ("",)), nodes=srun.expand_nodes(record["nodes"]))
    answers = decode(done.stdout)
    if done.returncode or not answers:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        said = [line for line in said if line.startswith(("srun: error: ", "srun: fatal: "))] or said
        why = said[-1].removeprefix("srun: ").removeprefix("error: ") if said else f"status {done.returncode}"
        raise NodeRuntimeError(f"can't ask the nodes of job {record['job']} ({record['nodes']}): {why}")
    return answers


def decode(printed: bytes) -> dict[str, Answer]:
    """What the nodes printed, in whatever order their lines came."""
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
    """Refuse to look for the processes of a container that has no nodes yet.

    Raises:
        WrongStatus: it waits for them.
    """
    if not record.get("nodes"):
        raise WrongStatus(f"container {container_id!r} has no processes yet: job {record.get('job')} is queued")
