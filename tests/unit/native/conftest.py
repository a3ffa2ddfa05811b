"""scrun-node with the sanitizers, and an agent over a process that no container's runtime has made."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from builds import SANITIZED, built

import scrun
from native.login_side import BYE, DONE, READY, START, STARTED, Login

SOURCES = Path(scrun.__file__).parent / "native"
SANITIZERS = [*SANITIZED, "-DHANDSHAKE_TIME=1500", "-DCONNECT_TIME=600000", "-DAT_FIRST=8"]
MakeNode = Callable[..., "Node"]


@pytest.fixture(scope="session")
def node_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program with AddressSanitizer and UndefinedBehaviorSanitizer."""
    program = tmp_path_factory.mktemp("native") / "scrun-node"
    shutil.copy(built("native", *SANITIZERS), program)
    subprocess.run(
        ["gcc", "-D_GNU_SOURCE", "-o", program.with_name("runtime"), Path(__file__).with_name("runtime.c")], check=True
    )
    return program


class Node:
    """An agent, the process that it was begun for, and login's side."""

    def __init__(
        self, program: Path, directory: Path, arguments: list[str], stdio: str = "pipes", patience: int = 5
    ) -> None:
        self.directory = directory
        self.key = secrets.token_bytes(32)
        self.login = Login(self.key)
        self.id = "test." + secrets.token_hex(4)
        self.meeting = "scrun-agent-1-" + secrets.token_hex(16)
        self.place = Path("/tmp", f"{self.meeting}-{hashlib.sha256(self.id.encode()).hexdigest()[:8]}")
        self.settings = {
            "version": "1",
            "key": self.key.hex(),
            "meeting": self.meeting,
            "patience": str(patience),
            "runtime": str(program.with_name("runtime")),
            "stdio": stdio,
            "init": str(directory / "sleep"),
            "address": f"127.0.0.1 {self.login.port}",
        }
        self.environment = {
            **os.environ,
            "ASAN_OPTIONS": f"detect_leaks=0:log_path={directory}/asan",
            "SLURM_LOCALID": "3",
            "SCRUN_TEST_NODE": self.id,
        }
        self.program = program
        os.link(program, directory / "sleep")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(directory / ".socket"))
        self.listener.listen()
        self.first = subprocess.Popen([directory / "sleep", *arguments], env=self.environment, stdin=subprocess.DEVNULL)
        self.pid = self.first.pid  # what the state says
        self.hook: subprocess.Popen[str] | None = None

    def begin(self, terminal: int | None = None) -> Node:
        """Run the hooks, as far as login's first message."""
        self.run_hook()
        self.login.accept()
        assert self.hook
        assert self.hook.wait(20) == 0, self.hook.communicate()
        self.hook_inside(terminal)
        self.login.wait(READY)
        return self

    def run_hook(self, verb: str = "agent", redirection: str = "") -> None:
        """Start the hook createRuntime (or the one of that verb), as a runtime with this environment."""
        file = self.directory / "connection"
        file.write_text("".join(f"{name} {value}\n" for name, value in self.settings.items()))
        path = f"{self.program.parent}:{self.environment['PATH']}"
        self.hook = subprocess.Popen(
            ["bash", "-c", f'"$@" {redirection}; exit $?', "bash", self.program.name, verb, file],
            env={**self.environment, "SLURMD_NODENAME": "n7", "PATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,  # the shell's and the program's
        )
        assert self.hook.stdin
        state = {"annotations": {"id": "false", "pid": 1}, "id": self.id, "pid": self.pid, "status": "created"}
        self.hook.stdin.write(json.dumps(state))
        self.hook.stdin.close()
        self.hook.stdin = None

    def hook_inside(self, terminal: int | None = None) -> None:
        """Do what the hook createContainer does."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as agent:
            agent.settimeout(20)
            agent.connect(str(self.place / "s"))
            fds = [self.listener.fileno()] + ([] if terminal is None else [terminal])
            socket.send_fds(agent, [b"i"], fds)
            assert agent.recv(1) == b"k"

    def start(self) -> Node:
        """Have the program run."""
        self.login.send(START, 0, b"\0\x18\0\x50")
        self.login.wait(STARTED, 0)
        return self

    def finish(self) -> None:
        """The container ends, and login has everything."""
        self.login.wait(DONE)
        self.login.send(BYE)
        assert self.is_gone()

    def is_gone(self) -> bool:
        """Whether the agent ends, and leaves nothing behind."""
        deadline = time.monotonic() + 20
        while self.place.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self.place.exists()

    def complaints(self) -> str:
        """What the sanitizers have said."""
        return "".join(path.read_text() for path in self.directory.glob("asan.*"))

    def end(self) -> None:
        """End the agent, which ends what it was begun for; kill the rest."""
        self.login.end()
        if self.hook and self.hook.poll() == 0:
            self.is_gone()
        self.login.close()
        self.first.kill()
        self.first.wait()
        if self.hook:
            if self.hook.poll() is None:
                self.hook.kill()
            self.hook.communicate()
        self.listener.close()
        assert self.is_gone(), "the agent has not ended"
        assert not self.complaints(), self.complaints()
        deadline = time.monotonic() + 10  # the agent itself ends when its directory has gone
        while self.left() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not self.left(kill=True), "processes are left"

    def left(self, kill: bool = False) -> list[str]:
        """Which of the processes of this test still run."""
        mark = f"SCRUN_TEST_NODE={self.id}".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_bytes().decode(errors="replace"))
                    if kill:
                        os.kill(int(process.name), signal.SIGKILL)
            except OSError:
                pass  # it has just ended
        return found


@pytest.fixture
def node(node_program: Path, tmp_path: Path) -> Iterator[MakeNode]:
    """Make an agent over a process: node(*arguments, stdio=…)."""
    made: list[Node] = []

    def make(*arguments: str, stdio: str = "pipes", patience: int = 5) -> Node:
        directory = tmp_path / secrets.token_hex(4)  # threads make them too
        directory.mkdir()
        one = Node(node_program, directory, list(arguments), stdio, patience)
        made.append(one)
        return one

    yield make
    for each in made:
        each.end()
