"""How a worker hears that its work isn't wanted any more."""

from __future__ import annotations

import signal


class Cancelled(BaseException):
    """SIGTERM, in a worker: the anchor doesn't want the work any more."""


def cancelled(_number: int = 0, _frame: object = None) -> None:
    """Raise Cancelled, once.

    Raises:
        Cancelled: always.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what follows is tidying up; and the anchor sees that we have heard
    raise Cancelled
