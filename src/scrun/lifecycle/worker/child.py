"""The child's side of a worker: it does one piece of work, answers in messages, and is gone with its memory.

What each piece imports (pyslurm, libslurm, lupa) is imported here, after the fork.
"""

from __future__ import annotations

import os
import signal

from scrun.errors import ScrunError
from scrun.lifecycle.process import fork, wire
from scrun.lifecycle.worker.cancel import Cancelled, cancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container

_DEFAULT_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGCHLD)


def begin(work: str, channel: int, printed: int, container: Container) -> int:
    """Fork a worker for the piece of work of that name; the result is its pid.

    Args:
        work: see :func:`run`.
        channel: its end of the connection to who has begun it.
        printed: the file that gets what anything in it prints.
        container: whose work it is.
    """
    return fork.child(
        lambda: _work(work, channel, container),
        stdio=(fork.QUIET, printed, printed),
        keep=(channel, container.descriptor),
        group=True,
        default=_DEFAULT_SIGNALS,
    )


def _work(work: str, channel: int, container: Container) -> int:
    try:
        signal.signal(signal.SIGTERM, cancelled)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        run(work, channel, container)
        return 0
    except Cancelled:
        os.killpg(os.getpid(), signal.SIGKILL)  # all is tidied up; what a hook has started goes, and this with it
    except ScrunError as error:
        wire.send(channel, wire.failure(error))
    except BaseException as error:  # whatever it is, it must reach the log and not a caller's terminal
        import traceback

        os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
        wire.send(channel, wire.failure(ScrunError(f"internal error in {work}: {type(error).__name__}: {error}")))
    return 1


def run(work: str, channel: int, container: Container) -> None:
    """Do the piece of work of that name; only then is what it needs imported."""
    if work == "allocate":
        from scrun.lifecycle.worker import allocate

        allocate.run(channel, container)
    elif work == "release":
        from scrun.lifecycle.worker import ending

        ending.run_release(channel, container)
    elif work == "stage in":
        from scrun.lifecycle.worker import stage_in_hook

        stage_in_hook.run(channel, container)
    elif work == "look":
        from scrun.lifecycle.worker import look

        look.run(channel)
    elif work == "renew":
        from scrun.lifecycle.worker import renew

        renew.run(channel, container)
    elif work == "stage out":
        from scrun.lifecycle.worker import ending

        ending.run_stage_out(channel, container)
    else:
        raise ValueError(work)
