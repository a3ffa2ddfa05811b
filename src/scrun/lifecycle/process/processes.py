"""Which process is still that process.

A pid alone says nothing once the process has ended and its number went to another. A pid with its start time does
(proc_pid_stat(5), field 22).
"""

from __future__ import annotations

import os

from scrun import signal

_STATE, _START_TIME = 0, 19  # counted behind the command's closing parenthesis
_DEAD = "ZX"


def start_time(pid: int) -> int:
    """When the process started, in clock ticks since boot; 0 when there is no such process, or it is a zombie."""
    fields = _stat(pid)
    return int(fields[_START_TIME]) if fields and fields[_STATE].decode() not in _DEAD else 0


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped the process (SIGSTOP), and SIGCONT would have it go on."""
    fields = _stat(pid)
    return bool(fields) and fields[_STATE] == b"T"


def is_alive(pid: int, started: int) -> bool:
    """Whether the process with that pid and that start time still runs."""
    return pid > 0 and started > 0 and start_time(pid) == started


def signal_masks(pid: int) -> dict[str, int]:
    """The signals that a process blocks (SigBlk), ignores (SigIgn) and so on: proc_pid_status(5), bit n - 1 for n."""
    masks = {"SigBlk": 0, "SigIgn": 0}
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name in masks:
                    masks[name] = int(value, 16)
    except OSError:
        pass  # it has ended
    return masks


def signal_if_alive(pid: int, started: int, number: int) -> bool:
    """Send a signal to that very process; False when it is gone."""
    if not is_alive(pid, started):
        return False
    try:
        descriptor = os.pidfd_open(pid)  # from here on the number can't pass to another process
    except OSError:
        return False
    try:
        if start_time(pid) != started:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def _stat(pid: int) -> list[bytes]:
    """The fields of proc_pid_stat(5) behind the command; none when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()
    except OSError:
        return []
