"""The work at a container's end: stage_out, and giving the job back, in one worker or in two."""

from __future__ import annotations

import _socket
import fcntl
import os
import signal

from scrun.lifecycle.process import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container
    from scrun.lifecycle.container.staging_plan import HookRequest
    from scrun.lifecycle.process.wire import Message


def serve_stage_out(channel: int, container: Container) -> None:
    """Serve one request, see :func:`stage_out_and_release`."""
    reader = wire.Reader(channel)
    if message := reader.next():
        stage_out_and_release(message, reader, channel, container)


def stage_out_and_release(message: Message, reader: wire.Reader, channel: int, container: Container) -> None:
    """Run stage_out for the request ``message``, and give the job back when the anchor asks for that.

    One worker does both, because most containers need them one after the other. The worker answers ``{"begun": …}`` at
    once, ``{"files back": …}`` when all files are here, and ``{"staged out": …}`` when the hook has run.

    Args:
        message: ``script``, ``lua`` and ``staging`` of a :class:`~scrun.lifecycle.container.staging_plan.HookRequest`,
            and the ``record``.
        reader: reads the anchor's further messages.
        channel: the connection to the anchor.
        container: the container.

    Raises:
        ScrunError: the hook failed, or the job can't be given back.
    """
    wire.send(channel, {"begun": True})
    from scrun.lifecycle.worker import stage_out_hook  # with lupa and staging, that a release alone doesn't need

    def log(level: str, text: str) -> None:
        wire.send(channel, {"log": level, "message": text})

    _die_with_anchor(channel)
    request: HookRequest = {"script": message["script"], "lua": message["lua"], "staging": message["staging"]}
    stage_out_hook.run_stage_out(
        container, message["record"], request, log, files_back=lambda: wire.send(channel, {"files back": True})
    )
    wire.send(channel, {"staged out": True})
    if order := reader.next():  # empty if the job isn't to be given back
        from scrun.lifecycle.worker import release

        release.give_back(channel, container, order)


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
    """Serve one request: ``job`` and ``status`` as :func:`scrun.lifecycle.worker.release.give_back` has them.

    The request may have ``left``, the record of a container whose stage_out was killed.
    """
    if not (message := wire.Reader(channel).next()):
        return
    if "left" in message:
        from scrun.lifecycle.worker import stage_out_hook  # with lupa and staging, that most releases don't need

        stage_out_hook.give_up(message["left"])
    if "job" in message:
        from scrun.lifecycle.worker import release

        release.give_back(channel, container, message)
