"""Who holds a container: the processes that share its lock, for when they do nothing.

That is its anchor and its workers, its stand-in and what guards that, or a create that is under way.
"""

from __future__ import annotations

import os

from scrun import signal
from scrun.lifecycle.process import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.lifecycle.container.directory import Container


def wake(container: Container) -> None:
    """Have those go on that were stopped (SIGSTOP): what they owe is better paid by them than by anybody else."""
    for pid, started in _find(container).items():
        if processes.is_stopped(pid):
            processes.signal_if_alive(pid, started, signal.SIGCONT)


def kill(container: Container) -> list[int]:
    """Send SIGKILL to all of them; the result is their pids. What a worker has started, a hook's commands, goes too."""
    found = _find(container)
    for pid, started in found.items():
        try:
            if (
                processes.is_alive(pid, started) and os.getpgid(pid) == pid and os.getsid(pid) in found.keys() - {pid}
            ):  # a worker of an anchor that is there
                os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        processes.signal_if_alive(pid, started, signal.SIGKILL)
    return [*found]


def _find(container: Container) -> dict[int, int]:
    """By their pids, when they started."""
    path = os.readlink(f"/proc/self/fd/{container.descriptor}")
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            started = processes.start_time(int(name))
            if started and _holds(name, path):
                found[int(name)] = started
    return found


def _holds(pid: str, path: str) -> bool:
    """Whether a process shares a lock (flock(2)) of that directory, not only has it open (proc_pid_fdinfo(5))."""
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):
            if os.readlink(f"/proc/{pid}/fd/{number}") == path:
                with open(f"/proc/{pid}/fdinfo/{number}", encoding="utf-8") as file:
                    if any(line.startswith("lock:") for line in file):
                        return True
    except OSError:
        pass  # it has gone, or is somebody else's
    return False
