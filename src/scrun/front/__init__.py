"""scrun-front, in C: the plain calls of state, start, kill and delete, without starting Python (``main.c``).

Every other call it leaves to Python, which it starts with options of the interpreter (``-X``):

- ``scrun-blocked``: the signals that scrun-front's caller blocks, bit n - 1 for signal n;
- ``scrun-asked``: the connection on which the anchor has the request already, if it has;
- ``scrun-directory``: the container's directory, if it was found. The anchor may have removed it by now.
"""

from __future__ import annotations

import os
import sys

PROGRAM = os.path.join(os.path.dirname(__file__), "scrun-front")  # compiled when scrun is built, where that is possible


def took_over() -> set[int]:
    """Be called what the program is called, as without scrun-front; return the signals that its caller blocks."""
    try:
        with open("/proc/self/comm", "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(os.path.basename(sys.argv[0])[:15])
    except OSError:
        pass  # it is for ps alone
    blocked = int(sys._xoptions["scrun-blocked"])
    return {number for number in range(1, 65) if blocked >> number - 1 & 1}


def is_asked() -> bool:
    """Whether the anchor has the request of this call already, which was made where it is allowed."""
    return "scrun-asked" in sys._xoptions


def connection() -> int:
    """The descriptor of the connection on which the anchor has the request; -1 without one, and when it was asked for.

    Its calls fail with BlockingIOError after client.PATIENCE seconds.
    """
    return _taken("scrun-asked")


def directory() -> int:
    """The descriptor of the directory of the call's one container; -1 without one, and when it was asked for."""
    return _taken("scrun-directory")


def _taken(name: str) -> int:
    descriptor = int(sys._xoptions.pop(name, -1))
    if descriptor >= 0:
        os.set_inheritable(descriptor, False)
    return descriptor
