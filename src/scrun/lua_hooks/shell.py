"""Processes for os.execute and io.popen: the Lua that lupa brings is built without them (popen is missing, and a
status comes undecoded).

subprocess isn't imported: it would cost every container's start 10 ms.
"""

from __future__ import annotations

import os
import signal

SHELL = "/bin/sh"
# Python ignores these, and a child would inherit that: `yes | head -1` must end as it does everywhere.
RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)


def execute(command: str) -> int:
    """Run a shell command with our stdio and environment; answers its wait status, as system(3) does."""
    return wait(_spawn(command))


def popen(command: str, mode: str) -> tuple[int, int]:
    """Start a shell command with a pipe from its stdout ("r") or to its stdin ("w"): its pid, and our end's number.

    The caller opens /proc/self/fd/NUMBER, then calls :func:`release`: so Lua gets a file of its own.
    """
    reading, writing = os.pipe()
    ours, theirs, number = (reading, writing, 1) if mode == "r" else (writing, reading, 0)
    try:
        return _spawn(command, [(os.POSIX_SPAWN_DUP2, theirs, number)]), ours
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(theirs)


def release(number: int) -> None:
    """Close our end of :func:`popen`'s pipe: Lua has opened its own by now."""
    os.close(number)


def wait(pid: int) -> int:
    """The wait status of a process of :func:`popen`'s, when it has ended."""
    return os.waitpid(pid, 0)[1]


def _spawn(command: str, actions: list[tuple[int, int, int]] | None = None) -> int:
    argv = [SHELL, "-c", command]
    return os.posix_spawn(SHELL, argv, os.environ, file_actions=actions or (), setsigdef=RESTORED)
