"""Block signals that must not end a call halfway.

An engine runs scrun in the engine's process group, so Ctrl-C and timeout(1), which mean the container, reach scrun too.
podman passes the signal on with ``scrun kill``. If a second signal ends that call, podman believes that the container
is dead and ends, but the container runs on. runc's calls are too short for a second key press. So the launcher blocks
all signals before Python imports anything. An engine's call keeps them blocked until it is done or takes too long, so
that a person can interrupt a call that hangs.
"""

from __future__ import annotations

from scrun import signal

# Seconds that a call keeps its signals waiting; start answers within 20 s (anchor.effects.START_LIMIT).
PATIENCE = {"delete": 5.0, "kill": 5.0, "start": 25.0, "state": 5.0}

_AGAIN = 1.0  # seconds

_blocked: set[int] | None = None  # signals that the caller blocks, to be restored


def settle(command: str, blocked: set[int] | None) -> None:
    """Let signals through at once, or, for a call that engines make, only when it has taken too long.

    Args:
        command: the name of the command; empty if it isn't known yet.
        blocked: the signals that were blocked before the launcher blocked all; None if it blocked none.
    """
    global _blocked
    _blocked = blocked
    if blocked is None or command not in PATIENCE:
        let_through()
        return
    signal.signal(signal.SIGALRM, lambda _number, _frame: let_through())
    # The timer repeats, because Python handles a signal late if it arrives just before a read(2) that waits.
    signal.setitimer(signal.ITIMER_REAL, PATIENCE[command], _AGAIN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})


def let_through() -> None:
    """Let signals through from now on, and pending ones too, because the following work may take long."""
    global _blocked
    if _blocked is not None:
        before, _blocked = _blocked, None
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
