"""Ask Slurm a question in a child process.

libslurm ends the process that loads it if it finds no slurm.conf, prints what it likes, and waits a minute for a
slurmctld that is down. None of that may happen to the process that asks.
"""

from __future__ import annotations

import os
import select

from scrun import signal
from scrun.errors import ScrunError, SlurmError
from scrun.lifecycle.container.worker_messages import from_asked
from scrun.lifecycle.process import fork, wire
from scrun.lifecycle.process.last_words import last_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Answer = TypeVar("Answer")

_MOST_PRINTED = 64 << 10  # bytes of the child's output, whose last line is an error's text


def ask(question: Callable[[], Answer], patience: float) -> Answer:
    """Call ``question`` in a child process and return what it returns.

    Args:
        question: returns plain data that JSON gives back as it was, so no tuples; imports by itself what it needs.
        patience: seconds that the child has.

    Raises:
        ScrunError: the error that ``question`` raised.
        SlurmError: the child ended without an answer, or took too long.
    """
    channel, theirs = wire.pair()
    printed = os.memfd_create("ask-slurm")
    stdio = (0, printed, printed)
    pid = fork.child(lambda: _answer(question, theirs), stdio=stdio)
    os.close(theirs)
    reader = wire.Reader(channel)
    try:
        in_time, _, _ = select.select([channel], [], [], patience)
        answer = reader.next(from_asked) if in_time else None
        if not in_time:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        if not in_time:
            raise SlurmError(f"slurmctld doesn't answer within {patience:.0f} s: scontrol ping tells whether it is up")
        if answer is None:
            words = os.pread(printed, _MOST_PRINTED, 0).decode("utf-8", "replace")
            raise SlurmError(last_words(words, "no answer from Slurm"))
    finally:
        os.close(channel)
        os.close(printed)
    if "error" in answer:
        raise wire.failed(answer)
    return answer["answer"]  # type: ignore[no-any-return]  # it is what question has returned


def _answer(question: Callable[[], object], channel: int) -> None:
    """Send the child's answer or error."""
    try:
        wire.send(channel, {"answer": question()})
    except ScrunError as error:
        wire.send(channel, wire.failure(error))
    except Exception as error:
        wire.send(channel, wire.failure(ScrunError(f"internal error: {type(error).__name__}: {error}")))
