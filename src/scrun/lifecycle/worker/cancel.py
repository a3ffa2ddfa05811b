"""The signal by which the anchor cancels a worker's work."""

from __future__ import annotations

from scrun import signal


class Cancelled(BaseException):
    """The anchor has sent SIGTERM, because it doesn't need the work any more."""


def cancelled(_number: int = 0, _frame: object = None) -> None:
    """Handle SIGTERM: raise Cancelled, once.

    Raises:
        Cancelled: always.
    """
    # The clean-up must not be interrupted. The anchor sees by the ignored signal that the first one has arrived.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Cancelled
