"""A question to Slurm from a command of a person's, in a child of its own.

libslurm ends the process that loads it where it finds no slurm.conf, prints what it likes, and waits a minute for a
slurmctld that is down; none of that may happen to the one who asks.
"""

from __future__ import annotations

import os
import select
import signal

from scrun.errors import ScrunError, SlurmError
from scrun.lifecycle.container.worker_messages import from_asked
from scrun.lifecycle.process import fork, wire
from scrun.lifecycle.process.last_words import last_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def ask(question: Callable[[], Any], patience: float) -> Any:
    """What the function returns, which has to be JSON, when it is called in a child.

    Args:
        question: it imports what it needs by itself.
        patience: seconds.

    Raises:
        ScrunError: the one that it raised.
        SlurmError: it ended without an answer, or takes too long.
    """
    channel, theirs = wire.pair()
    printed = os.memfd_create("aside")
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
            raise SlurmError(f"slurmctld doesn't answer within {patience:.0f} s: is it up (scontrol ping)?")
        if answer is None:
            words = os.pread(printed, 65536, 0).decode("utf-8", "replace")
            raise SlurmError(last_words(words, "no answer from Slurm"))
    finally:
        os.close(channel)
        os.close(printed)
    if "error" in answer:
        raise wire.failed(answer)
    return answer["answer"]


def _answer(question: Callable[[], Any], channel: int) -> None:
    try:
        wire.send(channel, {"answer": question()})
    except ScrunError as error:
        wire.send(channel, wire.failure(error))
    except Exception as error:
        wire.send(channel, wire.failure(ScrunError(f"internal error: {type(error).__name__}: {error}")))
