"""scrun-node under a real runtime, called by hand: the hooks in a bundle, and the simplest login's side."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .rootfs import Config
from .users import User

CHECKOUT = Path(__file__).parents[2]
sys.path.append(str(CHECKOUT / "tests/unit"))  # login's side is the unit tests' too
from native.login_side import (  # noqa: E402
    BYE,
    CONTINUE,
    DATA,
    DONE,
    EOF,
    EXIT,
    FAILED,
    READY,
    RESIZE,
    START,
    STARTED,
    STOP,
    Login,
)

INIT = "/dev/.scrun/init"


def build(directory: Path) -> Path:
    """Compile the program as the package's build does."""
    program = directory / "scrun-node"
    subprocess.run([CHECKOUT / "src/scrun/native/build", program], check=True, timeout=60)
    return program


class NodeContainer:
    """One container: the runtime's process, and login's side of the connection."""

    def __init__(self, user: User, runtime: str, directory: Path, stdio: str = "pipes") -> None:
        self.user, self.directory = user, directory
        self.key = secrets.token_bytes(32)
        self.login = Login(self.key)
        self.id = f"native.{secrets.token_hex(4)}"
        self.words = _words(user, runtime)
        self.settings = {
            "version": "1",
            "key": self.key.hex(),
            "meeting": "scrun-agent-1-" + secrets.token_hex(16),
            "patience": "30",
            "runtime": " ".join(self.words),
            "stdio": stdio,
            "init": INIT,
            "address": f"127.0.0.1 {self.login.port}",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def change(self, config: Config) -> None:
        """Put the hooks, the init and its place into a config.json."""
        program = str(self.directory / "scrun-node")
        connection = str(self.directory / "connection")
        config["hooks"] = {
            name: [{"path": program, "args": ["scrun-node", verb, connection]}]
            for name, verb in (("createRuntime", "agent"), ("createContainer", "inside"), ("poststop", "flush"))
        }
        options = ["nosuid", "nodev", "mode=755", "size=1m"]
        config["mounts"].append(
            {"destination": os.path.dirname(INIT), "type": "tmpfs", "source": "tmpfs", "options": options}
        )
        config["process"]["args"] = [INIT, *config["process"]["args"]]

    def begin(self, bundle: Path) -> NodeContainer:
        """Have the runtime run it, until its init waits."""
        self.launch(bundle)
        self.login.accept()
        self.login.wait(READY)
        return self

    def launch(self, bundle: Path) -> None:
        """Have the runtime run it."""
        text = "".join(f"{name} {value}\n" for name, value in self.settings.items())
        self.user.write(self.directory / "connection", text, 0o600)
        self.process = self.user.start(
            *self.words, "run", "--bundle", str(bundle), self.id, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def start(self, rows: int = 24, columns: int = 80) -> NodeContainer:
        """Have its program run."""
        self.login.send(START, 0, bytes([rows >> 8, rows & 255, columns >> 8, columns & 255]))
        self.login.wait(STARTED, 0)
        return self

    def finish(self) -> int:
        """Wait for its end; the result is the runtime's exit status."""
        assert self.process
        self.login.wait(DONE)
        self.login.send(BYE)
        said, _ = self.process.communicate(timeout=30)
        assert not said, said
        return self.process.returncode

    def exec(
        self, process: int, args: Sequence[str], *, terminal: bool = False, rows: int = 24, columns: int = 80
    ) -> None:
        """Have something run in it."""
        spec: dict[str, Any] = {"args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}}
        spec |= {"terminal": terminal, "noNewPrivileges": True}
        if terminal:
            spec["consoleSize"] = {"height": rows, "width": columns}
        self.login.exec(process, json.dumps(spec), terminal, rows, columns)

    def clean_up(self) -> None:
        """End what is left of it."""
        self.login.close()
        if self.process:
            if self.process.poll() is None:
                self.user.run(*self.words, "delete", "--force", self.id)
            self.process.communicate(timeout=30)


def _words(user: User, runtime: str) -> list[str]:
    root = f"/run/user/{user.uid}/scrun-native-{runtime}"
    if runtime == "crun":
        return ["crun", f"--root={root}", "--cgroup-manager=disabled"]
    return ["runc", f"--root={root}", f"--rootless={'true' if user.uid else 'auto'}"]


__all__ = ["BYE", "CONTINUE", "DATA", "DONE", "EOF", "EXIT", "FAILED", "INIT", "READY", "RESIZE", "START", "STARTED"]
__all__ += ["STOP", "Login", "NodeContainer", "build"]
