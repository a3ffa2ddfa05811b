"""A worker: a child of the anchor that does one piece of work, answers by messages, and exits.

Each piece imports its libraries (pyslurm, libslurm, lupa) after the fork, so that they go with the worker.
"""

from __future__ import annotations

import os

from scrun import signal
from scrun.errors import ScrunError
from scrun.lifecycle.process import fork, wire
from scrun.lifecycle.worker.cancel import Cancelled, cancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container

_DEFAULT_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGCHLD)


def begin(work: str, channel: int, printed: int, container: Container) -> int:
    """Fork a worker; return its pid.

    Args:
        work: the name of the piece of work (:func:`do_work`).
        channel: the worker's end of the connection to the anchor.
        printed: a file that gets the worker's standard output and standard error.
        container: the container.
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
        do_work(work, channel, container)
        return 0
    except Cancelled:
        os.killpg(os.getpid(), signal.SIGKILL)  # the clean-up is done; end the hook's processes, and this one
    except ScrunError as error:
        wire.send(channel, wire.failure(error))
    except BaseException as error:  # of any kind: its traceback must go to the log and not to a caller's terminal
        import traceback

        os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
        wire.send(channel, wire.failure(ScrunError(f"internal error in {work}: {type(error).__name__}: {error}")))
    return 1


def do_work(work: str, channel: int, container: Container) -> None:
    """Import and do the piece of work of that name.

    Raises:
        ValueError: there is no such work.
    """
    if work == "release":
        from scrun.lifecycle.worker import ending

        ending.serve_release(channel, container)
    elif work == "prepare":
        from scrun.lifecycle.worker import prepare

        prepare.serve(channel, container)
    elif work == "look":
        from scrun.lifecycle.worker import look

        look.serve(channel, container)
    elif work == "renew":
        from scrun.lifecycle.worker import renew

        renew.serve(channel, container)
    elif work == "stage out":
        from scrun.lifecycle.worker import ending

        ending.serve_stage_out(channel, container)
    else:
        raise ValueError(work)
