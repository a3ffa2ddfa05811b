"""Whether the node's runtime has run a container's process that ended, or refused to (:mod:`bundle.adapt_start`)."""

from __future__ import annotations

import shlex

from scrun.errors import ScrunError
from scrun.lifecycle.node import overlap
from scrun.node_scripts import read_script
from scrun.staging.node_directory import LACKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.container.record import Record
    from scrun.lifecycle.process.loop import Loop


_PATIENCE = 10.0  # seconds
_BARE, _NO_ROOT = "bare", "no-root"  # words of node_scripts/not_run.sh
_SCRIPT = read_script("not_run").replace("@LACKS@", LACKS)


def find(
    loop: Loop,
    record: Record,
    environment: dict[str, str],
    exit_status: int,
    done: Callable[[str], None],
    patience: float = _PATIENCE,
) -> None:
    """Look whether no task's process was run; ``done`` is told why, or "" when one was.

    The login host mostly sees it at once. Where it doesn't, and the exit status is 0, nobody is asked: what was carried
    has its node's directory looked at when the changes come back.

    Without a doubt only: the hook may have been unable to say so, on a file system that the node can't write to. A
    step asks that, on the nodes; where it can't be asked, or takes more seconds than ``patience``, the process was run.
    """
    staged = record.get("staged") or {}
    file = staged.get("beside", "")
    if not file or record["job_bundle"] != staged["bundle"] or (staged.get("spool") and not _has_content(file)):
        done("")
        return
    if not exit_status and not staged.get("spool"):
        done("")
        return

    answers: list[str] = []

    def answer(why: str) -> None:
        answers.append(why)
        if len(answers) == 1:
            loop.forget(timer)
            done(why)

    timer = loop.after(patience, lambda: answer(""))
    script = _SCRIPT.replace("@FILE@", shlex.quote(file))
    try:
        script = script.replace("@ROOT@", _root(record))
        overlap.start(
            *(loop, overlap.argv(record, "check", script), environment),
            lambda status, said: answer(_why(record["nodes"], said) if status == 0 else ""),
        )
    except (ScrunError, OSError):
        answer("")


def _root(record: Record) -> str:
    """The runtime's --root on the node, as shell words; empty where oci.conf doesn't say."""
    try:
        words = overlap.runtime(record)[0].split() if record.get("runtime") else []
    except ScrunError:
        return ""
    for number, word in enumerate(words):
        if word.startswith("--root="):
            return word.removeprefix("--root=")
        if word == "--root":
            return "".join(words[number + 1 : number + 2])
    return ""


def _why(nodes: str, said: str) -> str:
    for line in said.splitlines():
        mark, _, words = line.partition(" ")
        if mark == _BARE:
            where, _, file = words.partition(" ")
            return f"{where} has no {file}: it has run the program on the node itself and not in a container"
        if mark == _NO_ROOT:
            where, _, root = words.partition(" ")
            return (
                f"the container's process was not run: {where} lets {root} not be made, where its runtime keeps its "
                "state (--root in oci.conf): Slurm makes no /run/user/UID: have a Prolog make a directory for each user"
            )
    return f"the container's process was not run: what the runtime of {nodes} said is above"


def _has_content(file: str) -> bool:
    """It is opened, not only looked at: that is what makes NFS ask its server (nfs(5), close-to-open)."""
    try:
        with open(file, "rb") as opened:
            return bool(opened.read(1))
    except OSError:
        return False
