"""Whether the node's runtime has run a container's process that ended, or refused to (:mod:`bundle.adapt_start`)."""

from __future__ import annotations

import shlex

from scrun.errors import ScrunError
from scrun.lifecycle import node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scrun.lifecycle.loop import Loop

    Record = dict[str, Any]


_PATIENCE = 10.0  # seconds


def find(
    loop: Loop, record: Record, environment: dict[str, str], done: Callable[[bool], None], patience: float = _PATIENCE
) -> None:
    """Look whether no task's process was run; ``done`` is told, at once where the login host can see it.

    Without a doubt only: the hook may have been unable to say so, on a file system that the node can't write to. A
    step asks that, on the nodes; where it can't be asked, or takes more seconds than ``patience``, the process was run.
    """
    staged = record.get("staged") or {}
    file = staged.get("beside", "")
    if not file or record["job_bundle"] != staged["bundle"] or (staged.get("spool") and not _has_content(file)):
        done(False)
        return

    answers: list[bool] = []

    def answer(refused: bool) -> None:
        answers.append(refused)
        if len(answers) == 1:
            loop.forget(timer)
            done(refused)

    timer = loop.after(patience, lambda: answer(False))
    file = shlex.quote(file)
    try:
        node.start(
            *(loop, node.argv(record, f"[ -s {file} ] && [ -w {file} ]"), environment),
            lambda exit_status, _said: answer(exit_status == 0),
        )
    except (ScrunError, OSError):
        answer(False)


def _has_content(file: str) -> bool:
    """It is opened, not only looked at: that is what makes NFS ask its server (nfs(5), close-to-open)."""
    try:
        with open(file, "rb") as opened:
            return bool(opened.read(1))
    except OSError:
        return False
