"""Processes, read from /proc."""

from __future__ import annotations

import os
from pathlib import Path


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it isn't a zombie."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def descendants(pid: int) -> set[int]:
    """The children of a process, theirs, and so on."""
    parents = {
        int(name): int(fields[1]) for name in os.listdir("/proc") if name.isdigit() and (fields := _stat(int(name)))
    }
    found: set[int] = set()
    while new := {child for child, parent in parents.items() if parent in found | {pid}} - found:
        found |= new
    return found


def parent(pid: int) -> int:
    """Whose child a process is; 0 when there is no such process."""
    return int((_stat(pid) or ["", "0"])[1])


def program(pid: int) -> str:
    """The name of a process; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _stat(pid: int) -> list[str]:
    """proc_pid_stat(5) behind the command: state, parent, …; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
