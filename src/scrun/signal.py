"""The module signal without its enumerations: to make these takes 4 ms of each process that imports them.

Use it as ``from scrun import signal``. Signals, and what the functions return, are plain numbers here.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import *  # noqa: F403
else:
    from _signal import *  # noqa: F403


def by_name(name: str) -> int | None:
    """The number of the signal of that name, such as SIGTERM; None if there is none."""
    number = globals().get(name) if name.startswith("SIG") and not name.startswith("SIG_") else None
    return None if number is None else int(number)
