"""The work at a container's end: stage_out, and giving the job back, in one worker or in two."""

from __future__ import annotations

import _socket
import fcntl
import os

from scrun import signal
from scrun.lifecycle.container import worker_messages
from scrun.lifecycle.process import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.worker_messages import FromEnding, StageOut
    from scrun.staging.child import Standing


def serve_stage_out(channel: int, container: Container) -> None:
    """Serve one order, see :func:`stage_out_and_release`."""
    reader = wire.Reader(channel)
    if order := reader.next(worker_messages.to_stage_out):
        stage_out_and_release(order, reader, channel, container)


def stage_out_and_release(
    order: StageOut, reader: wire.Reader, channel: int, container: Container, standing: Standing | None = None
) -> None:
    """Run stage_out, and give the job back when the anchor asks for that.

    One worker does both, because most containers need them one after the other. The worker tells at once that it has
    begun, then that all files are back, and then that the hook has run.

    Args:
        order: the script, what it is told, and the record.
        reader: reads the anchor's further messages.
        channel: the connection to the anchor.
        container: the container.
        standing: the step that has carried the files, if it is there.

    Raises:
        ScrunError: the hook failed, or the job can't be given back.
    """
    _say(channel, {"begun": True})
    from scrun.lifecycle.worker import stage_out_hook  # with lupa and staging, that a release alone doesn't need

    def log(level: str, text: str) -> None:
        _say(channel, {"log": level, "message": text})

    _die_with_anchor(channel)
    stage_out_hook.run_stage_out(
        *(container, order["record"], order, log),
        files_back=lambda: _say(channel, {"files_back": True}),
        standing=standing,
    )
    _say(channel, {"staged_out": True})
    then = reader.next(worker_messages.to_ending)
    if then and "job" in then:  # otherwise the job isn't to be given back
        from scrun.lifecycle.worker import release

        release.give_back(channel, container, then)


def _say(channel: int, message: FromEnding) -> None:
    wire.send(channel, message)


def _die_with_anchor(channel: int) -> None:
    """End this worker, with all that it has started, when the anchor is killed: another process does the work again.

    The kernel sends SIGIO when the connection is closed (fcntl(2), O_ASYNC).
    """
    connection = _socket.socket(fileno=os.dup(channel))

    def look(_number: int = 0, _frame: object = None) -> None:
        if signal.getsignal(signal.SIGTERM) == signal.SIG_IGN:
            return  # the worker was cancelled and cleans up; the anchor closes the connection then too
        try:
            is_over = not connection.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
        except BlockingIOError:
            is_over = False
        except OSError:
            is_over = True
        if is_over:
            os.killpg(os.getpgrp(), signal.SIGKILL)

    signal.signal(signal.SIGIO, look)
    fcntl.fcntl(channel, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(channel, fcntl.F_SETFL, fcntl.fcntl(channel, fcntl.F_GETFL) | os.O_ASYNC)
    look()


def serve_release(channel: int, container: Container) -> None:
    """Serve one order; it may have ``left``, the record of a container whose stage_out was killed."""
    if not (order := wire.Reader(channel).next(worker_messages.to_release)):
        return
    if order["left"]:
        from scrun.lifecycle.worker import stage_out_hook  # with lupa and staging, that most releases don't need

        stage_out_hook.give_up(order["left"])
    if order["job"]:
        from scrun.lifecycle.worker import release

        release.give_back(channel, container, order["job"])
