"""A container on which a fault is tried: podman's, docker's, or one that a person made by hand."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from integration import rootfs
from integration.users import User

from . import scene

LIMIT = 150.0  # seconds; a command that takes longer hangs
SCRUN = "/usr/bin/scrun"
IMAGE = "localhost/busybox"
ON_NODE = "node2"
SIZE = 100_000_000  # bytes that an ending container brings back


class Call:
    """A command of an engine's or a person's, and how long somebody waited for it."""

    def __init__(self, user: User, argv: Sequence[str], env: dict[str, str] | None = None) -> None:
        self.argv = list(argv)
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self._from, self._until = time.monotonic(), 0.0
        self._process = user.start(*argv, env=env, stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said)
        self.hung = False
        self._thread = threading.Thread(target=self._reap, daemon=True)
        self._thread.start()

    def end(self, limit: float = LIMIT) -> int | None:
        """Its exit status, or None when it hung and was killed."""
        self._thread.join(limit)
        if self._thread.is_alive():
            self.hung = True
            os.killpg(self._process.pid, signal.SIGKILL)
            self._thread.join()
        return None if self.hung else self._process.returncode

    def mark(self) -> None:
        """Only from now on does somebody wait for it: before, it had a reason not to end."""
        self._from = time.monotonic()

    @property
    def verb(self) -> str:
        """The command's name and its verb."""
        return f"{os.path.basename(self.argv[0])} {self.argv[1]}"

    @property
    def seconds(self) -> float:
        """How long it was waited for."""
        return max(0.0, (self._until or time.monotonic()) - self._from)

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return os.pread(self._said.fileno(), 1 << 20, 0).decode("utf-8", "replace")

    def _reap(self) -> None:
        self._process.wait()
        self._until = time.monotonic()


class Subject:
    """One container; ``calls`` are the commands so far. Subclasses know what its engine is told."""

    who = ""

    def __init__(self, user: User) -> None:
        self.user, self.name = user, f"fault-{uuid.uuid4().hex[:10]}"
        self.node = ON_NODE
        self.calls: list[Call] = []
        self.directory = user.mkdir(Path(f"/var/tmp/{self.name}"), 0o777)  # noqa: S108
        self._known = set(scene.record_directories())
        self._found: Path | None = None

    # What the engines differ in.

    def run(self, script: str) -> Call:
        """Begin to run it, in the background where an engine can."""
        raise NotImplementedError

    def create(self, script: str) -> bool:
        """Create it only; whether that can be told."""
        raise NotImplementedError

    def start(self) -> int | None:
        """Start what was created; the command's exit status."""
        raise NotImplementedError

    def wait(self) -> Call:
        """Begin to wait for its end."""
        raise NotImplementedError

    def status(self, waiting: Call, limit: float) -> int | None:
        """The exit status that its engine shows; None when there is none to be had."""
        raise NotImplementedError

    def remove(self) -> int | None:
        """Remove it, whatever its state."""
        raise NotImplementedError

    def look(self) -> int | None:
        """List what there is, as people do."""
        raise NotImplementedError

    def output(self) -> str:
        """What the container has said."""
        raise NotImplementedError

    def parents(self) -> list[int]:
        """The process that waits for it: conmon, containerd-shim, `scrun run`."""
        raise NotImplementedError

    # What they have in common.

    @property
    def record(self) -> dict[str, Any]:
        """The runtime's record of it; empty when there is none."""
        if not self._found:
            new = [path for path in scene.record_directories() if path not in self._known and self._is_mine(path)]
            self._found = new[0] if new else None
        return scene.record(self._found) if self._found else {}

    @property
    def directory_name(self) -> str:
        """The container's id, as the runtime has it."""
        return self._found.name if self._found else ""

    def _is_mine(self, path: Path) -> bool:
        return path.owner() == self.user.name

    def call(self, *argv: str, env: dict[str, str] | None = None) -> Call:
        """Begin a command that is timed."""
        self.calls.append(Call(self.user, argv, env))
        return self.calls[-1]

    def said(self) -> str:
        """All that was said by anybody about this container."""
        return "\n".join([*(call.said for call in self.calls), self.output()])

    def another(self) -> None:
        """Run and remove another container of the same user's and engine's, which has lost jobs ended."""
        again = type(self)(self.user)
        again.node = "node1"  # the other one may be held
        again.run("exit 7").end(60)
        again.remove()
        again.clean()

    def clean(self) -> None:
        """Remove what it needed; its engine has forgotten it, or is made to."""
        for call in self.calls:
            call.end(0.1)
        shutil.rmtree(self.directory, ignore_errors=True)


class Engine(Subject):
    """podman and docker."""

    program = ""
    parent = ""
    time_to_stop: tuple[str, ...] = ()

    def _words(self, verb: str, script: str) -> list[str]:
        if not (self.directory / "data").exists():
            self.user.mkdir(self.directory / "data")
        return [
            *(self.program, verb, "--runtime=scrun", "--name", self.name, *(["-d"] if verb == "run" else [])),
            *("-v", f"{self.directory}/data:/data", "-e", f"SCRUN_JOB_NODELIST={self.node}", IMAGE, "sh", "-c", script),
        ]

    def run(self, script: str) -> Call:
        return self.call(*self._words("run", script))

    def wait(self) -> Call:
        return self.call(self.program, "wait", self.name)

    def status(self, waiting: Call, limit: float) -> int | None:
        status = waiting.end(limit)
        last = waiting.said.split()
        return int(last[-1]) if status == 0 and last and last[-1].lstrip("-").isdigit() else None

    def remove(self) -> int | None:
        return self.call(self.program, "rm", "--force", *self.time_to_stop, self.name).end()

    def look(self) -> int | None:
        return self.call(self.program, "ps", "--all").end()

    def output(self) -> str:
        done = Call(self.user, [self.program, "logs", self.name])
        done.end(20)
        return done.said

    def parents(self) -> list[int]:
        identity = self._found.name if self._found else "?"  # to inspect it would wait for its create
        lines = scene.command_lines().items()
        return [pid for pid, line in lines if self.parent in line.split(" ")[0] and identity in line]


class Podman(Engine):
    """alice's podman."""

    who, program, parent, time_to_stop = "podman", "podman", "conmon", ("--time=0",)

    def create(self, script: str) -> bool:
        self.call(*self._words("create", script)).end()
        return self.call(self.program, "init", self.name).end() == 0

    def start(self) -> int | None:
        return self.call(self.program, "start", self.name).end()


class Docker(Engine):
    """The machine's docker, as root."""

    who, program, parent = "docker", "docker", "containerd-shim"

    def create(self, script: str) -> bool:
        del script
        return False  # `docker create` calls no runtime

    def start(self) -> int | None:
        return None


class ByHand(Subject):
    """`scrun run` by alice; create and start where only those will do."""

    who = "by hand"

    def _bundle(self, script: str) -> Path:
        bundle = self.user.mkdir(self.directory / "bundle")
        rootfs.make_rootfs(bundle / "rootfs", self.user, rootfs.copy_busybox(self.directory, self.user))
        self.user.mkdir(bundle / "rootfs/data")
        rootfs.write_config(bundle, rootfs.config(["sh", "-c", script], self.user), self.user)
        (self.directory / "data").symlink_to(bundle / "rootfs/data")
        return bundle

    def run(self, script: str) -> Call:
        words = ("run", "--bundle", str(self._bundle(script)), self.name)
        return self.call(SCRUN, *words, env={"SCRUN_JOB_NODELIST": self.node})

    def create(self, script: str) -> bool:
        words = ("create", "--bundle", str(self._bundle(script)), self.name)
        return self.call(SCRUN, *words, env={"SCRUN_JOB_NODELIST": self.node}).end() == 0

    def start(self) -> int | None:
        return self.call(SCRUN, "start", self.name).end()

    def wait(self) -> Call:
        return self.calls[0]

    def status(self, waiting: Call, limit: float) -> int | None:
        if "run" in waiting.argv:
            return waiting.end(limit)
        until = time.monotonic() + limit
        while time.monotonic() < until and self.record.get("status") != "stopped":
            time.sleep(0.1)
        status = self.record.get("exit_status")
        return None if status is None else int(status)

    def remove(self) -> int | None:
        return self.call(SCRUN, "delete", "--force", self.name).end()

    def look(self) -> int | None:
        return self.call(SCRUN, "list").end()

    def output(self) -> str:
        return self.calls[0].said if self.calls else ""

    def parents(self) -> list[int]:
        lines = scene.command_lines().items()
        found = [
            pid for pid, line in lines if f" run --bundle {self.directory}" in line and not line.startswith("setpriv")
        ]
        return found[:1]


def make(who: str) -> Subject:
    """The subject of that name."""
    if who == "docker":
        return Docker(User("root"))
    return Podman(User("alice")) if who == "podman" else ByHand(User("alice"))


WHO = ("podman", "docker", "by hand")
