"""A runtime under test, and one container of it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from . import noise
from .users import Done, User, Variables, give_up
from .waiting import PATIENCE, read_until, wait_until

SHIM = Path(__file__).with_name("shim.py")
PYTHON = "/opt/scrun/bin/python"


class Runtime:
    """The executable that SCRUN_RUNTIME names, as one user calls it."""

    def __init__(self, path: str, user: User) -> None:
        self.path, self.user = path, user
        self.is_scrun = Path(path).name == "scrun"
        self.root = Path(f"/run/user/{user.uid}/{'scrun' if self.is_scrun else 'scrun-tests'}")

    def argv(self, *words: str) -> list[str]:
        """The command line; crun gets a root of its own and, having no right to any here, no cgroup."""
        return [self.path, *([] if self.is_scrun else [f"--root={self.root}", "--cgroup-manager=disabled"]), *words]

    def run(self, *words: str, env: Variables | None = None, cwd: Path | None = None) -> Done:
        """Call it."""
        return self.user.run(*self.argv(*words), env=env, cwd=cwd)


class Container:
    """One container, made by hand. ``directory`` holds its pid file and its output."""

    def __init__(self, runtime: Runtime, container_id: str, bundle: Path, directory: Path) -> None:
        self.runtime, self.id, self.bundle, self.directory = runtime, container_id, bundle, directory
        self.pid_file = directory / "pid"
        self._shim: subprocess.Popen[bytes] | None = None
        self._report, self._said = -1, b""

    def create(
        self,
        *options: str,
        global_options: Sequence[str] = (),
        env: Variables | None = None,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        timeout: float = PATIENCE,
    ) -> Done:
        """Call create under the shim, which goes on to reap the container's process; what create said is in the answer.

        Its standard output is the container's, in a file unless one is given, and so is standard error.
        """
        self.begin_create(*options, global_options=global_options, env=env, stdin=stdin, stdout=stdout, stderr=stderr)
        return self.end_create(timeout)

    def begin_create(
        self,
        *options: str,
        global_options: Sequence[str] = (),
        env: Variables | None = None,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
    ) -> None:
        """:meth:`create` without waiting for its end."""
        self._report, theirs = os.pipe()
        create = [
            *global_options,
            "create",
            "--bundle",
            str(self.bundle),
            "--pid-file",
            str(self.pid_file),
            *options,
            self.id,
        ]
        command = [PYTHON, "-IS", str(SHIM), str(theirs), str(self.pid_file), *self.runtime.argv(*create)]
        with open(self.directory / "stdout", "wb") as output, open(self.directory / "stderr", "wb") as errors:
            self._shim = self.runtime.user.start(
                *command, env=env, stdin=stdin, stdout=stdout or output, stderr=stderr or errors, pass_fds=[theirs]
            )
        os.close(theirs)

    def end_create(self, timeout: float = PATIENCE) -> Done:
        """Wait for what :meth:`begin_create` began."""
        status = self._reported("created", timeout)
        return Done(["create", self.id], status, self.output, self.errors)

    def created(self, *options: str, env: Variables | None = None, **more: Any) -> Container:
        """Itself, when create succeeded."""
        self.create(*options, env=env, **more).ok()
        return self

    def started(self, *options: str, env: Variables | None = None, **more: Any) -> Container:
        """Itself, when create and start succeeded."""
        self.created(*options, env=env, **more).call("start").ok()
        return self

    def ended(self, timeout: float = PATIENCE) -> int:
        """The exit status of the container's process, as its parent sees it; -n when a signal n ended that process."""
        return self._reported("ended", timeout)

    def call(self, verb: str, *words: str, options: Sequence[str] = (), env: Variables | None = None) -> Done:
        """``VERB [OPTIONS] ID WORDS``; with delete also wait until its anchor has given the job back."""
        done = self.runtime.run(verb, *options, self.id, *words, env=env)
        if verb == "delete" and done.status == 0 and not done.errors:
            wait_until(lambda: not self.path.exists(), f"the anchor of {self.id} has done what was owed")
        return done

    def state(self) -> dict[str, Any]:
        """What state prints."""
        document: dict[str, Any] = json.loads(self.call("state").ok().output)
        return document

    def status(self) -> str:
        """The status that state prints."""
        return str(self.state()["status"])

    def wait_for(self, status: str, timeout: float = PATIENCE) -> None:
        """Wait until the container has that status."""
        wait_until(lambda: self.status() == status, f"container {self.id} is {status}", timeout)

    def wait_until_queued(self) -> int:
        """Wait until the container's job is in the queue; its id."""
        state = self.path / "state.json"
        job = wait_until(lambda: state.exists() and self.record.get("job"), f"{self.id} has a job; {self.errors!r}")
        assert isinstance(job, int)
        return job

    def wait_for_output(self, wanted: bytes, timeout: float = PATIENCE) -> None:
        """Wait until the container has said that."""
        wait_until(lambda: wanted in self.output, f"container {self.id} says {wanted!r}; {self.errors!r}", timeout)

    @property
    def output(self) -> bytes:
        """What the container has written to standard output so far."""
        return _content(self.directory / "stdout")

    @property
    def errors(self) -> bytes:
        """What the container, and scrun for it, have written to standard error so far."""
        return _content(self.directory / "stderr")

    @property
    def path(self) -> Path:
        """The runtime's directory for it."""
        return self.runtime.root / self.id

    @property
    def record(self) -> dict[str, Any]:
        """scrun's own state file: for what no command tells, such as the anchor's pid."""
        document: dict[str, Any] = json.loads((self.path / "state.json").read_bytes())
        return document

    def clean_up(self) -> None:
        """Delete it, whatever its status; that must always work."""
        if self.path.exists():
            self.runtime.run("delete", "--force", self.id).ok()
        if self._shim:
            try:
                self._shim.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                give_up(self._shim, f"the process of container {self.id}, which was deleted", PATIENCE)
            os.close(self._report)

    def _reported(self, what: str, timeout: float) -> int:
        if b"\n" not in self._said:
            self._said += read_until(self._report, b"\n", timeout)
        line, _, self._said = self._said.partition(b"\n")
        word, status = line.decode().split()
        assert word == what
        return int(status)


def _content(file: Path) -> bytes:
    """Nothing, as long as there was no create."""
    return noise.without(file.read_bytes()) if file.exists() else b""
