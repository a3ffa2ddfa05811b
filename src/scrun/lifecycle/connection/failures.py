"""What a person and an engine are told of a program that could not be run on the node.

The words are runc's and the exit statuses docker's and podman's, because these look for them: "executable file not
found" and "no such file or directory" are 127, "permission denied" is 126. Whatever kept the container itself from
running is 125.
"""

from __future__ import annotations

import errno
import os

from scrun.errors import ExecutableNotFound, ExecutableNotPermitted, NodeRuntimeError, ScrunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.connection.processes import Failure

NOT_RUN, NOT_PERMITTED, NOT_FOUND = 125, 126, 127

OURS = "scrun-node: "  # begins what our hooks say
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
# What crun says of a program that may not be run, for which engines look for "permission denied".
_DENIED = ("is not executable", "is not a regular file")


def explain(failure: Failure, program: str) -> tuple[ScrunError, int]:
    """The error, and the exit status of a container that ends for it.

    Args:
        failure: the agent's.
        program: the program that was to be run, as the caller had it.
    """
    if failure.where == "x":
        return _execve(failure.errno, program)
    if failure.where == "r":
        return _runtime(failure.text)
    if failure.where == "l":
        return NodeRuntimeError(f"the node can't set {_limit(failure)}: {os.strerror(failure.errno).lower()}"), NOT_RUN
    reason = failure.text or (os.strerror(failure.errno).lower() if failure.errno else "for an unknown reason")
    what = "the container's terminal can't be made" if failure.where == "t" else "the node can't run the process"
    return NodeRuntimeError(f"{what}: {reason}"), NOT_RUN


def _limit(failure: Failure) -> str:
    from scrun.bundle.adapt_process import LIMITS

    return dict(zip(map(str, range(len(LIMITS))), LIMITS, strict=True)).get(failure.text, "a limit")


def _execve(number: int, program: str) -> tuple[ScrunError, int]:
    reason = os.strerror(number).lower()
    if number in _MISSING:
        if "/" not in program:
            return ExecutableNotFound(f'exec: "{program}": executable file not found in $PATH'), NOT_FOUND
        return ExecutableNotFound(f'exec: "{program}": stat {program}: {reason}'), NOT_FOUND
    if number == errno.EISDIR:
        return ExecutableNotPermitted(f'exec: "{program}": is a directory: permission denied'), NOT_PERMITTED
    if number in (errno.EACCES, errno.EPERM):
        return ExecutableNotPermitted(f'exec: "{program}": permission denied'), NOT_PERMITTED
    return ExecutableNotPermitted(f"exec {program}: {reason}"), NOT_PERMITTED


def _runtime(text: str) -> tuple[ScrunError, int]:
    """By the last line of what the node's runtime printed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = _without_time(lines[-1]) if lines else "the node's runtime did not say why"
    lower = said.lower()
    if ("executable file" in lower and "not found" in lower) or "no such file or directory" in lower:
        return ExecutableNotFound(f"exec failed: {said}"), NOT_FOUND
    if any(words in lower for words in _DENIED):
        said += ": permission denied"
    if "permission denied" in said.lower():
        return ExecutableNotPermitted(f"exec failed: {said}"), NOT_PERMITTED
    return NodeRuntimeError(f"exec failed: {said}"), NOT_RUN


def last_words(text: str) -> str:
    """The last line of what the node's runtime or slurmstepd has printed, without its time stamp and level.

    What our own hook has said counts more: the runtime only says afterwards that it has failed.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        if OURS in line:
            return line.rpartition(OURS)[2].removesuffix('"').removesuffix("\\n").strip()
    line = _without_time(lines[-1]) if lines else ""
    if line.startswith("[") and "] " in line:  # slurmstepd's
        line = line.partition("] ")[2].removeprefix("error: ")
    if line.startswith("time=") and " msg=" in line:  # runc's
        line = line.partition(" msg=")[2].removeprefix('"').removesuffix('"').replace('\\"', '"')
    return line


def without_end(said: bytes) -> bytes:
    """What a step has said, without slurmstepd's lines about the step's end, as scrun itself has ended it.

    Such a line is ``[TIME] error: *** STEP 87.0 ON node1 CANCELLED AT TIME DUE to SIGNAL Killed ***``.
    """
    lines = said.splitlines(keepends=True)
    return b"".join(line for line in lines if not (b" *** STEP " in line and b" CANCELLED AT " in line))


def _without_time(line: str) -> str:
    """A line without crun's time stamp (``2026-01-02T03:04:05.678901Z: ``), or runc's level and first words."""
    stamp, colon, rest = line.partition("Z: ")
    if colon and stamp[:4].isdigit() and "T" in stamp:
        return rest
    for said in ("ERRO[0000] ", "FATA[0000] ", "exec failed: "):
        line = line.removeprefix(said)
    return line
