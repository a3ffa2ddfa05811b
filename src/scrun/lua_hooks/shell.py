"""Processes for os.execute and io.popen, because lupa's Lua is built without popen and returns undecoded statuses.

subprocess isn't imported, because that would cost every container's start 10 ms.
"""

from __future__ import annotations

import os

from scrun import signal

SHELL = "/bin/sh"
# Python ignores these signals, and a child would inherit that; but `yes | head -1` must end as it does everywhere.
RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)


def execute(command: str) -> int:
    """Run a shell command with scrun's stdio and environment; return its wait status, as system(3) does."""
    return wait(_spawn(command))


def popen(command: str, mode: str) -> tuple[int, int]:
    """Start a shell command with a pipe from its stdout ("r") or to its stdin ("w"); return its pid and a descriptor.

    Lua opens /proc/self/fd/NUMBER as a file of its own, and then calls :func:`release`.
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
    """Close the descriptor of :func:`popen`, when Lua has opened its own file."""
    os.close(number)


def wait(pid: int) -> int:
    """Wait for the end of a process of :func:`popen`; return its wait status."""
    return os.waitpid(pid, 0)[1]


def _spawn(command: str, actions: list[tuple[int, int, int]] | None = None) -> int:
    argv = [SHELL, "-c", command]
    return os.posix_spawn(SHELL, argv, os.environ, file_actions=actions or (), setsigdef=RESTORED)
