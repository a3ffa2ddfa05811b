"""What the tests of the core share: a claimed container, an event loop, a child that runs a function, a fake srun."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from builds import SANITIZED, built
from examples import examples
from fake_agent import SteppedLoop
from hypothesis import settings

from scrun import wait
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.process import fork as fork_module
from scrun.lifecycle.process import processes
from scrun.lifecycle.process.loop import Loop

# The same examples each time, none timed, nothing written into the checkout.
settings.register_profile("scrun", max_examples=examples(100), deadline=None, derandomize=True, database=None)
settings.load_profile("scrun")

TOO_LONG = 60  # seconds until a test that hangs is ended; none measures time


@pytest.fixture(scope="session", autouse=True)
def default_signals() -> None:
    """Children get the signals that users' commands get, also where nohup or a script's & has these ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def never_hangs() -> Iterator[None]:
    """A test that waits for what never comes fails instead of stopping the run."""

    def expired(_number: int, _frame: object) -> None:
        raise TimeoutError(f"nothing happened for {TOO_LONG} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(TOO_LONG)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def no_child_left() -> Iterator[None]:
    """A child that one test leaves would be what another one waits for."""
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    """A container that was claimed, with the record of a created one whose stand-in is this process."""
    claimed = Container.claim(str(tmp_path / "root"), "box")
    claimed.record = {
        "id": "box",
        "status": "created",
        "bundle": "/bundle",
        "rootfs": "/bundle/rootfs",
        "created": "2026-01-02T03:04:05.000000006Z",
        "owner": "alice",
        "annotations": {"a": "b"},
        "environment": {},
        "pid": os.getpid(),
        "pid_started": processes.start_time(os.getpid()),
    }
    claimed.save()
    yield claimed
    os.close(claimed.descriptor)


@pytest.fixture
def loop() -> Iterator[Loop]:
    """An event loop; the process gets its own signal handling back afterwards."""
    handler = signal.getsignal(signal.SIGCHLD)
    made = Loop()
    yield made
    os.close(signal.set_wakeup_fd(-1))
    os.close(made._wake)
    signal.signal(signal.SIGCHLD, handler)


@pytest.fixture
def stepped() -> Iterator[SteppedLoop]:
    """A loop that serves until something is so; all that it holds is given back."""
    handler = signal.getsignal(signal.SIGCHLD)
    made = SteppedLoop()
    yield made
    made.close()
    signal.signal(signal.SIGCHLD, handler)


@pytest.fixture(scope="session")
def wait_program() -> Path:
    """scrun-wait with AddressSanitizer and UndefinedBehaviorSanitizer."""
    return built("wait", *SANITIZED)


@pytest.fixture
def with_wait(wait_program: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Processes that wait do so by scrun-wait, as in an installation; at once, where they do so at all."""
    monkeypatch.setattr(wait, "PROGRAM", str(wait_program))
    monkeypatch.setattr(wait, "QUIET", 0.0)
    held = os.open(wait_program, os.O_RDONLY | os.O_CLOEXEC)
    monkeypatch.setattr(fork_module, "kept_open", {held})
    yield
    os.close(held)


class _UntilAChildHasGone(Loop):
    def child(self, pid: int, ended: Callable[[int], None]) -> None:
        def told(status: int) -> None:
            ended(status)
            self.stop()

        super().child(pid, told)


@pytest.fixture
def until_a_child_has_gone(loop: Loop) -> Loop:
    """An event loop that stops when a child's end has been told to whoever waits for it."""
    return _UntilAChildHasGone()


@pytest.fixture
def fork() -> Iterator[Callable[..., int]]:
    """Run a function in a child, which exits with what it returns (99 after an exception); the result is its pid.

    Children that a test leaves behind are killed.
    """
    children: list[int] = []

    def run(function: Callable[..., int | None], *arguments: Any) -> int:
        pid = os.fork()
        if not pid:
            status = 99
            try:
                signal.set_wakeup_fd(-1)
                status = function(*arguments) or 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(status)
        children.append(pid)
        return pid

    yield run
    for pid in children:
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        except ChildProcessError:
            pass  # the test has waited for it


@pytest.fixture
def subreaper() -> Iterator[None]:
    """This process is what conmon is: the parent of what its children leave."""
    libc = ctypes.CDLL(None)
    assert not libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    assert not libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        os.kill(int(pid), signal.SIGKILL)
        os.waitpid(int(pid), 0)


_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


@pytest.fixture
def exit_code() -> Callable[[int], int]:
    """Wait for a child; the result is its exit status, negative for a signal."""

    def wait(pid: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    return wait


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., str]:
    """Write an executable shell script; the result is its path."""

    def write(text: str, name: str = "srun") -> str:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return write


def pytest_collection_finish() -> None:
    """What was collected stays: neither the collector nor the children that tests fork need to look through it."""
    gc.collect()
    gc.freeze()
