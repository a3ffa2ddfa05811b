"""The one way in which scrun makes another process of itself."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from scrun.lifecycle.process import fork


def ended(pid: int) -> int:
    """The exit status of a child."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (7, 7), (255, 255)])
def test_a_child_exits_with_what_it_returns(returned: int | None, status: int) -> None:
    assert ended(fork.child(lambda: returned)) == status


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(5), KeyboardInterrupt()])
def test_a_child_never_comes_back(error: BaseException, tmp_path: Path) -> None:
    def fail() -> None:
        raise error

    assert ended(fork.child(fail, failed=(tmp_path / "failed").touch)) == 1
    assert (tmp_path / "failed").exists()


def test_descriptors_change_places_with_each_other(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    first, second = (os.open(tmp_path / name, os.O_RDONLY) for name in "ab")

    def look() -> int:
        return 0 if (os.read(0, 1), os.read(1, 1), os.read(2, 1), os.read(3, 1)) == (b"b", b"a", b"", b"") else 1

    def swap() -> int:
        os.dup2(first, 0)
        os.dup2(second, 1)
        return ended(fork.child(look, stdio=(1, 0, fork.QUIET, 0), keep=()))

    assert ended(fork.child(swap)) == 0
    os.close(first)
    os.close(second)


def test_nothing_else_stays_open(tmp_path: Path) -> None:
    kept, other = (os.open(tmp_path, os.O_RDONLY) for _ in range(2))

    def look() -> int:
        is_open = {one for one in range(max(256, kept + 64)) if os.path.exists(f"/proc/self/fd/{one}")}
        return 0 if is_open == {0, 1, 2, kept} else 1

    assert ended(fork.child(look, stdio=(fork.QUIET,) * 3, keep=(kept,))) == 0
    os.close(kept)
    os.close(other)


def test_a_child_has_own_signals_session_and_group() -> None:
    def look() -> int:
        is_right = os.getsid(0) == os.getpgid(0) == os.getpid() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        return 0 if is_right and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else 1

    before = signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    try:
        assert ended(fork.child(look, session=True, default=(signal.SIGTERM,), ignored=(signal.SIGHUP,))) == 0
        assert ended(fork.child(lambda: int(os.getpgid(0) != os.getpid()), group=True)) == 0
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_is_left_alone_is_nobodys_child(tmp_path: Path) -> None:
    parent, told = os.getpid(), tmp_path / "told"

    def tell() -> None:
        (tmp_path / "fresh").write_text(str(os.getppid()))
        os.rename(tmp_path / "fresh", told)

    fork.left_alone(tell)
    while not told.exists():
        time.sleep(0.001)
    assert int(told.read_text()) != parent


def test_an_srun_that_is_not_there_says_so(tmp_path: Path) -> None:
    with open(tmp_path / "said", "wb") as file:
        stdio = (fork.QUIET, fork.QUIET, file.fileno())
        assert ended(fork.child(lambda: fork.execute(["/nosuch/srun"], {}), stdio=stdio, keep=())) == 127
    assert (tmp_path / "said").read_text() == "srun: fatal: can't execute /nosuch/srun: No such file or directory\n"
