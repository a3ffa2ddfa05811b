"""The scripts that stop and continue a container's processes, on processes of this host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from scrun.lifecycle.node import pause_script
from scrun.lifecycle.process.processes import is_stopped

# A process whose child is kept between vfork(2) and execve(2), by the opening of a pipe that nobody writes to.
_SPAWNS = """
import os, sys
os.posix_spawn("/bin/true", ["true"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 5, sys.argv[1], os.O_RDONLY, 0)])
os.wait()
"""
_NODE = "here=0 inits={}; find_here() {{ :; }}; each() {{ false; }}; find_members() {{ members='{}'; }}\n"


def _child(pid: int) -> int:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if found := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            return int(found[0])
    raise AssertionError("it has no child")


def _on_node(members: list[int], script: str) -> int:
    text = _NODE.format(members[0], " ".join(map(str, members))) + script.replace("@PROGRAM@", "false")
    return subprocess.run(["sh", "-c", text], check=False).returncode


def test_a_pid_that_is_another_process_by_now_gets_no_signal() -> None:
    with subprocess.Popen(["sleep", "1000"]) as first, subprocess.Popen(["sleep", "1000"]) as stranger:
        try:
            for process in (first, stranger):
                process.send_signal(signal.SIGSTOP)
                os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            assert _on_node([first.pid, stranger.pid], pause_script.CONTINUE) == 0
            os.waitid(os.P_PID, first.pid, os.WCONTINUED)
            assert is_stopped(stranger.pid)
        finally:
            first.kill()
            stranger.kill()


def test_a_vforking_parent_counts_as_stopped(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen([sys.executable, "-IS", "-c", _SPAWNS, str(tmp_path / "pipe")]) as parent:
        try:
            both = [parent.pid, _child(parent.pid)]
            os.kill(both[1], signal.SIGSTOP)
            assert _on_node(both, pause_script.STOP) == 0
            assert _on_node(both, pause_script.CONTINUE) == 0
            os.close(os.open(tmp_path / "pipe", os.O_WRONLY))
            assert parent.wait(60) == 0
        finally:
            parent.kill()
