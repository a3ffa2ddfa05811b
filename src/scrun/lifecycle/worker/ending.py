"""The work at a container's end: stage_out, and giving the job back, in one worker or in one each."""

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


def run_stage_out(channel: int, container: Container) -> None:
    """Serve one request, see :func:`serve`."""
    reader = wire.Reader(channel)
    if message := reader.next():
        serve(message, reader, channel, container)


def serve(message: Message, reader: wire.Reader, channel: int, container: Container) -> None:
    """Serve ``{"script": …, "lua": …, "record": …, "staging": …}``, and then what release does.

    One worker for both: most containers' ends need them one after the other. It says at once that it has begun.
    """
    wire.send(channel, {"begun": True})
    from scrun.lifecycle.worker import stage_out_hook  # with lupa and staging, that a release alone doesn't need

    def log(level: str, text: str) -> None:
        wire.send(channel, {"log": level, "message": text})

    _die_with_anchor(channel)
    request: HookRequest = {"script": message["script"], "lua": message["lua"], "staging": message["staging"]}
    stage_out_hook.run_hook(
        container, message["record"], request, log, files_back=lambda: wire.send(channel, {"files back": True})
    )
    wire.send(channel, {"staged out": True})
    if order := reader.next():  # empty when the job is somebody else's
        from scrun.lifecycle.worker import release

        release.give_back(channel, container, order)


def _die_with_anchor(channel: int) -> None:
    """End this worker, with what it has started, when its anchor is killed: whoever is left does the work again."""
    connection = _socket.socket(fileno=os.dup(channel))

    def look(_number: int = 0, _frame: object = None) -> None:
        if signal.getsignal(signal.SIGTERM) == signal.SIG_IGN:
            return  # it was cancelled, and tidies up: that is the other thing that closes the channel
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


def run_release(channel: int, container: Container) -> None:
    """Serve one request, see :func:`scrun.lifecycle.worker.release.give_back`.

    Its ``left`` is the record of a container whose stage_out was killed.
    """
    if not (message := wire.Reader(channel).next()):
        return
    if "left" in message:
        from scrun.lifecycle.worker import stage_out_hook  # with lupa and staging, that most releases don't need

        stage_out_hook.give_up(message["left"])
    if "job" in message:
        from scrun.lifecycle.worker import release

        release.give_back(channel, container, message)
