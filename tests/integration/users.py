"""The cluster's users: commands run as them, with the environment that a login gives."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

import pytest

from . import noise

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
TIMEOUT = 60.0  # seconds that a command may take before the test fails; none should come near it

Variables = Mapping[str, str | None]  # None: without that variable
File = int | IO[bytes]


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    argv: Sequence[str]
    status: int  # its exit status; -n when signal n ended it
    output: bytes
    errors: bytes

    @property
    def stdout(self) -> str:
        return self.output.decode("utf-8", "backslashreplace")

    @property
    def stderr(self) -> str:
        return self.errors.decode("utf-8", "backslashreplace")

    def ok(self) -> Done:
        """Itself, when the command succeeded."""
        assert self.status == 0, f"{' '.join(self.argv)}: exit status {self.status}: {self.stderr or self.stdout}"
        return self


class User:
    """Somebody with an account on the cluster."""

    def __init__(self, name: str) -> None:
        account = pwd.getpwnam(name)
        self.name, self.uid, self.gid, self.shell = name, account.pw_uid, account.pw_gid, account.pw_shell
        self.home = Path(account.pw_dir)
        # Of the home directories only /home is shared by the hosts.
        self.shared = self.home if self.home.is_relative_to("/home") else Path("/home")

    def environment(self, changes: Variables) -> dict[str, str]:
        """A login's, with the changes."""
        login = {
            "HOME": str(self.home),
            "USER": self.name,
            "LOGNAME": self.name,
            "SHELL": self.shell,
            "PATH": PATH,
            "TERM": "xterm",
            "LANG": "C.UTF-8",
            "XDG_RUNTIME_DIR": f"/run/user/{self.uid}",
        }
        return {name: value for name, value in {**login, **changes}.items() if value is not None}

    def start(
        self,
        *argv: str,
        env: Variables | None = None,
        cwd: Path | None = None,
        stdin: File = subprocess.DEVNULL,
        stdout: File = subprocess.DEVNULL,
        stderr: File = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """Start a command, in a process group of its own."""
        return subprocess.Popen(
            argv,
            env=self.environment(env or {}),
            cwd=cwd or self.home,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
            start_new_session=True,
            user=self.uid,
            group=self.gid,
            extra_groups=os.getgrouplist(self.name, self.gid),
        )

    def run(
        self,
        *argv: str,
        env: Variables | None = None,
        cwd: Path | None = None,
        stdin: bytes | None = None,
        timeout: float = TIMEOUT,
    ) -> Done:
        """Run a command to its end; what it leaves running in the background doesn't count."""
        # Files, not pipes: a container that create leaves running would hold a pipe open.
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            feed = subprocess.DEVNULL if stdin is None else subprocess.PIPE
            process = self.start(*argv, env=env, cwd=cwd, stdin=feed, stdout=output, stderr=errors)
            try:
                process.communicate(stdin, timeout)
            except subprocess.TimeoutExpired:
                give_up(process, f"{' '.join(argv)}\n{_content(output)!r}\n{_content(errors)!r}", timeout)
            return Done(argv, process.returncode, _content(output), _content(errors))

    def mkdir(self, path: Path, mode: int = 0o755) -> Path:
        """A new directory of this user's."""
        path.mkdir(mode=mode, parents=True)
        os.chown(path, self.uid, self.gid)
        return path

    def write(self, path: Path, content: str, mode: int = 0o644) -> Path:
        """A file of this user's."""
        path.write_text(content)
        path.chmod(mode)
        os.chown(path, self.uid, self.gid)
        return path


def give_up(process: subprocess.Popen[bytes], what: str, timeout: float) -> NoReturn:
    """Kill a process with its group, and fail the test."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    pytest.fail(f"still running after {timeout:.0f} s: {what}")


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return noise.without(file.read())
