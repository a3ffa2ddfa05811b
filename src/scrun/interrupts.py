"""Signals that must not end a call halfway.

An engine calls scrun in its own process group: Ctrl-C, or timeout(1), means the container and reaches every process of
the group. podman passes the signal on with ``scrun kill``; when a second signal ends that call, podman takes the
container for dead, ends too, and the container runs on. runc's calls are over before anybody can press a key twice. So
the launcher blocks all signals before Python has imported anything, and a call that engines make keeps them blocked
until it is done or takes too long: a person can interrupt one that hangs.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal without the enum that it imports

# Seconds that a call keeps its signals waiting; start answers within 20 s (anchor.running.START_LIMIT).
PATIENCE = {"delete": 5.0, "kill": 5.0, "start": 25.0, "state": 5.0}

_AGAIN = 1.0  # seconds

_blocked: set[int] | None = None  # by the caller, for when we block no more


def settle(command: str, blocked: set[int] | None) -> None:
    """Let signals through, unless engines make this call: then only when it has taken too long.

    Args:
        command: the one that is called; empty while that isn't known.
        blocked: what the launcher found blocked, before it blocked everything; None: it did nothing.
    """
    global _blocked
    _blocked = blocked
    if blocked is None or command not in PATIENCE:
        let_through()
        return
    _signal.signal(_signal.SIGALRM, lambda _number, _frame: let_through())
    # Again and again: Python sees a signal late that comes in the instant before a read(2) which then waits.
    _signal.setitimer(_signal.ITIMER_REAL, PATIENCE[command], _AGAIN)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, {_signal.SIGALRM})


def let_through() -> None:
    """Let signals through from here on, those that wait too: what follows may take long."""
    global _blocked
    if _blocked is not None:
        before, _blocked = _blocked, None
        _signal.setitimer(_signal.ITIMER_REAL, 0)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
