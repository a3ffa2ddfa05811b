"""Versions of scrun side by side: who stays with a container holds the one it was begun with; the rest goes."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from installations import Installation

import scrun

HOLD = "import os; from scrun.lifecycle.process import installed; installed.hold(); "
HOLD += "print('held', flush=True); os.read(0, 1)"


pytestmark = pytest.mark.slow


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


@pytest.fixture
def hold() -> Callable[[Path], subprocess.Popen[str]]:
    """Starts a process that stays with a container of that version."""

    def start(version: Path) -> subprocess.Popen[str]:
        program = f"import sys; sys.path.insert(0, {str(version)!r}); {HOLD}"
        process = subprocess.Popen(
            [sys.executable, "-IS", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        return process

    return start


def test_the_program_runs_a_copy_no_update_changes(tmp_path: Path) -> None:
    installation = Installation(tmp_path, compiles=True)
    installation.call("install")
    shutil.rmtree(installation.source)
    (version,) = installation.versions()
    assert list(version.rglob("*.pyc")), "users can't write them there"
    assert installation.says() == scrun.__version__
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in version.rglob("*"))


def test_only_a_changed_copy_is_made_again(installation: Installation) -> None:
    installation.call("install")
    (version,) = installation.versions()
    before = version.stat().st_ino
    installation.call("install")
    assert (installation.versions(), version.stat().st_ino) == ([version], before)
    (version / "scrun/errors.py").write_text("raise SystemExit('spoilt')")
    installation.call("install")
    assert installation.versions() == [version]
    assert installation.says() == scrun.__version__


def test_a_version_stays_while_somebody_holds_it(
    installation: Installation, hold: Callable[[Path], subprocess.Popen[str]]
) -> None:
    first, second = installation.upgrade("1.0"), installation.upgrade("1.1")
    with hold(first) as process:
        third = installation.upgrade("1.2")
        assert installation.versions() == [first, second, third]
        fourth = installation.upgrade("1.3")
        assert installation.versions() == [first, third, fourth], "the last one may be in use for a moment"
        assert process.stdin
        process.stdin.close()
    installation.call("install")
    assert installation.versions() == [fourth]
    assert installation.says() == "1.3"


def test_readers_of_the_copies_cannot_delay_an_installation(installation: Installation) -> None:
    version = installation.upgrade("1.0")
    directory = os.open(version.parent, os.O_RDONLY | os.O_DIRECTORY)
    with (version / "lock").open() as lock:
        fcntl.flock(directory, fcntl.LOCK_EX)
        fcntl.flock(lock, fcntl.LOCK_EX)
        installation.upgrade("1.1")
    os.close(directory)
    assert (version.parent / ".installing").stat().st_mode & 0o777 == 0o600, "only the owner can lock it"


def test_a_version_locked_by_another_is_still_held(
    installation: Installation, hold: Callable[[Path], subprocess.Popen[str]]
) -> None:
    version = installation.upgrade("1.0")
    with (version / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = hold(version)
    with process:
        installation.upgrade("1.1")
        installation.upgrade("1.2")
        assert version in installation.versions()


def test_what_is_removed_leaves_only_what_is_held(
    installation: Installation, hold: Callable[[Path], subprocess.Popen[str]]
) -> None:
    version = installation.upgrade("1.0")
    with hold(version):
        said = installation.call("uninstall")
        assert said[-1] == f"{version} stays: containers that run need it; remove it when they have ended"
        assert installation.versions() == [version]
        assert f"{installation.hooks} stays: containers that run need it" in said
        assert installation.hooks.exists()
    installation.call("install")
    assert "stays" not in "".join(installation.call("uninstall"))
    assert [path for path in installation.prefix.rglob("*") if path.is_file()] == []
    assert not (installation.prefix / "lib/scrun").exists()
