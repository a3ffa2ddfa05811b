"""docker and podman, as people call them."""

from __future__ import annotations

import json
import os
import pty
import select
import sqlite3
import subprocess
import time
import uuid
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from .engine_api import Api
from .users import Done, User, Variables
from .waiting import PATIENCE, wait_until

NAMES = ("podman", "docker", "rootless docker")
IMAGE = "localhost/busybox"
NO_FORWARDING = b"WARNING: IPv4 forwarding is disabled. Networking will not work.\n"


# What the C scrun can't do without, by its documentation: without them nothing of it works that could be compared.
C_SCRUNS_PODMAN = {"CONTAINERS_CONF": "/etc/containers/cscrun.conf"}
C_SCRUNS_DOCKER = (
    *("--security-opt=label=disable", "--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined"),
    "--network=host",
)


class Engine:
    """One of them, for one user, with the runtime under test."""

    def __init__(self, name: str, user: User, runtime: str, env: Variables | None = None) -> None:
        self.program, self.user, self.runtime, self.env = name, user, runtime, env
        self.made: list[str] = []
        self.always: tuple[str, ...] = ()  # options of each run

    @property
    def is_podman(self) -> bool:
        return self.program == "podman"

    def call(self, *words: str, stdin: bytes | None = None, timeout: float = PATIENCE) -> Done:
        """``docker WORDS``, without what docker says of this machine."""
        done = self.user.run(self.program, *words, env=self.env, stdin=stdin, timeout=timeout)
        return replace(done, errors=done.errors.replace(NO_FORWARDING, b""))

    def remove(self, name: str) -> Done:
        """``rm --force``, without patience: podman would first wait 10 s for what ignores SIGTERM."""
        return self.call("rm", "--force", *(["--time=0"] if self.is_podman else []), name)

    def name(self) -> str:
        """A name for a container, which is removed after the test."""
        self.made.append(f"test-{uuid.uuid4().hex[:12]}")
        return self.made[-1]

    def words(self, *options: str, command: tuple[str, ...], name: str = "") -> list[str]:
        """``run [OPTIONS] IMAGE COMMAND``."""
        named = ["--name", name or self.name()]
        said = {option.partition("=")[0] for option in options} & {"--network", "--security-opt"}
        always = [option for option in self.always if option.partition("=")[0] not in said]
        return ["run", f"--runtime={self.runtime}", *named, *always, *options, IMAGE, *command]

    def run(
        self, *command: str, options: tuple[str, ...] = (), stdin: bytes | None = None, timeout: float = PATIENCE
    ) -> Done:
        """Run a container in the foreground."""
        return self.call(*self.words(*options, command=command), stdin=stdin, timeout=timeout)

    def detached(self, *command: str, options: tuple[str, ...] = (), ready: str = "") -> str:
        """Run a container in the background, wait until it says ``ready``; its name."""
        name = self.name()
        self.call(*self.words("--detach", *options, command=command, name=name)).ok()
        if ready:
            wait_until(lambda: ready in self.call("logs", name).stdout, f"{name} says {ready!r}")
        return name

    def inspect(self, name: str) -> dict[str, Any]:
        """What inspect prints."""
        (document,) = json.loads(self.call("inspect", name).ok().output)
        return dict(document)

    def exit_code(self, name: str) -> int:
        """Its exit code, once it has ended."""
        return int(self.call("wait", name).ok().stdout)

    def is_running(self, name: str) -> bool:
        """Whether the engine believes that it runs."""
        return bool(self.inspect(name)["State"]["Running"])

    def at_a_terminal(self, *words: str, typed: dict[str, bytes], timeout: float = PATIENCE) -> tuple[int, str]:
        """Call it with a terminal; once a key of ``typed`` is on the screen its value is typed. Status and screen."""
        return at_a_terminal(self.user, self.program, *words, typed=typed, env=self.env, timeout=timeout)

    def exec_status(self, status: int) -> int:
        """What exec ends with for a process that couldn't be run; docker 26 knows only 126, with runc as well."""
        return status if self.is_podman or self.api_version() > (1, 45) else 126

    @property
    def has_old_pasta(self) -> bool:
        """Whether it is a podman of Debian 13, whose pasta leads no ``[::1]``, and keeps a port for some time after its
        container's end; the same with crun."""
        return self.is_podman and self.call("--version").ok().stdout.split()[2].startswith("5.4.")

    def api_version(self) -> tuple[int, ...]:
        """The version of docker's API that this docker speaks: 1.45 is docker 26, 1.48 docker 28."""
        said = self.call("version", "--format", "{{.Client.APIVersion}}").stdout
        return tuple(map(int, said.split(".")))

    def clean_up(self) -> None:
        """Remove what was made; that must always work."""
        for name in self._kept() if self.is_podman else ():
            done = self.remove(name)
            if "conmon exited prematurely" in done.stderr:
                done = self.remove(name)  # podman 5.4 notices at the first that its conmon was killed, by a test
            assert not done.status or "o such container" in done.stderr, done.stderr
        for name in () if self.is_podman else self.made:
            wait_until(partial(self._is_removed, name), f"{name} is removed")

    def _kept(self) -> list[str]:
        """Which of the made containers podman still has, by its database: a call of podman costs more than most tests.

        All of them, where its storage is another.
        """
        data = self.user.home / ".local/share" if self.user.uid else Path("/var/lib")
        database = data / "containers/storage/db.sql"
        if "CONTAINERS_STORAGE_CONF" in (self.env or {}) or not database.exists():
            return self.made
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
            names = {name for (name,) in opened.execute("SELECT Name FROM ContainerConfig")}
        return [name for name in self.made if name in names]

    def _is_removed(self, name: str) -> bool:
        """Have dockerd remove it, as `docker rm --force` does; whether it is gone."""
        host = (self.env or {}).get("DOCKER_HOST") or "unix:///run/docker.sock"
        status, said = Api(host.removeprefix("unix://")).answer("DELETE", f"/containers/{name}?force=1")
        assert status in (204, 404, 409), said  # 409: it is being removed
        return status != 409


class Compose:
    """docker compose for root, podman-compose for others, of one file in a directory of the user's."""

    def __init__(self, user: User, directory: Path) -> None:
        self.user, self._directory = user, directory

    def call(self, *words: str) -> Done:
        """``docker compose WORDS``."""
        by_root = self.user.name == "root"
        program = ["docker", "compose"] if by_root else ["podman-compose", "--podman-args=--runtime scrun"]
        return self.user.run(*program, *words, cwd=self._directory, timeout=2 * PATIENCE)

    def serve(self, services: str, port: int) -> None:
        """Start the services, which get that port or the next, and wait until their client has said hello."""
        text = services.format(name=f"test-{self.user.name}", port=port + (self.user.name != "root"))
        (self._directory / "compose.yaml").write_text(text)
        self.call("up", "--detach").ok()
        wait_until(lambda: "hello" in self.said_by_client(), "the client was served")

    def said_by_client(self) -> str:
        """What the client has said."""
        return self.call("logs", "client").stdout


def at_a_terminal(
    user: User, *argv: str, typed: dict[str, bytes], env: Variables | None = None, timeout: float = PATIENCE
) -> tuple[int, str]:
    """Run a command at a terminal; once a key of ``typed`` is on the screen its value is typed. Status and screen."""
    master, slave = pty.openpty()
    process = user.start(*("setsid", "--ctty", "--wait", *argv), env=env, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    screen, waiting, deadline = b"", dict(typed), time.monotonic() + timeout
    while time.monotonic() < deadline:
        if select.select([master], [], [], 0.2)[0]:
            try:
                screen += os.read(master, 65536)
            except OSError:
                break
        for prompt in [prompt for prompt in waiting if prompt.encode() in screen]:
            os.write(master, waiting.pop(prompt))
    else:
        process.kill()
        pytest.fail(f"still running after {timeout:.0f} s: {screen!r}")
    os.close(master)
    return process.wait(PATIENCE), screen.decode("utf-8", "backslashreplace")


def make(name: str, runtime: str, alice: User, root: User) -> Engine:
    """One of :data:`NAMES` with the executable under test; for another than scrun, the engine's own runtime."""
    local = {"podman": "crun"}.get(name, "runc")
    named = os.path.basename(runtime)
    used = named if named in ("scrun", "cscrun") else local
    if name == "podman":
        return Engine("podman", alice, used, C_SCRUNS_PODMAN if used == "cscrun" else None)
    if name == "docker":
        one = Engine("docker", root, used)
    else:
        one = Engine("docker", alice, used, {"DOCKER_HOST": f"unix:///run/user/{alice.uid}/docker.sock"})
    one.always = C_SCRUNS_DOCKER if used == "cscrun" else ()
    return one


def network() -> list[bytes]:
    """The host's links and routes, which no container may change; an engine's own bridge goes up and down."""
    commands = (["ip", "-o", "link"], ["ip", "-o", "address"], ["ip", "route"], ["ip", "-6", "route"])
    printed = [subprocess.run(command, capture_output=True, check=True).stdout for command in commands]
    return [line for text in printed for line in text.splitlines() if not any(link in line for link in _ENGINES)]


_ENGINES = (b"docker0", b"veth", b"br-", b"podman")
