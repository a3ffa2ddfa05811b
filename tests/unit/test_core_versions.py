"""Versions of scrun side by side: who stays with a container holds the one it was begun with; the rest goes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import scrun

HOLD = "import os; from scrun.lifecycle.process import installed; installed.hold(); "
HOLD += "print('held', flush=True); os.read(0, 1)"


class Installation:
    """A copy of the package, as pip has it, and a prefix that the launcher is written to."""

    def __init__(self, scratch: Path) -> None:
        self.source, self.prefix = scratch / "source", scratch / "prefix"
        self.program = self.prefix / "bin" / "scrun"
        self.program.parent.mkdir(parents=True)
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(scrun.__file__).parent, self.source / "scrun", ignore=ignore)

    def call(self, *words: str) -> str:
        """Call the launcher's command line; what it prints."""
        environment = {**os.environ, "PYTHONPATH": str(self.source), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "scrun.launcher", *words, str(self.program)]
        done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def upgrade(self, version: str) -> Path:
        """Replace the package by another version, and install that; its directory."""
        text = (self.source / "scrun/__init__.py").read_text()
        (self.source / "scrun/__init__.py").write_text(text.replace("__version__ =", f"__version__ = {version!r} or"))
        self.call()
        (path,) = [path for path in self.versions() if path.name.startswith(f"{version}-")]
        return path

    def versions(self) -> list[Path]:
        """Those that there are."""
        home = self.prefix / "lib/scrun"
        return sorted(home.iterdir()) if home.exists() else []

    def says(self) -> str:
        """The version of the program."""
        done = subprocess.run([self.program, "--version"], env={}, capture_output=True, text=True, check=True)
        return done.stdout.split()[2]


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


def test_the_program_runs_a_copy_that_no_update_changes(installation: Installation) -> None:
    installation.call()
    shutil.rmtree(installation.source)
    assert installation.says() == scrun.__version__
    (version,) = installation.versions()
    assert list(version.rglob("*.pyc")), "users can't write them there"
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in version.rglob("*"))


def test_the_same_is_not_copied_again_but_what_was_changed_is(installation: Installation) -> None:
    installation.call()
    (version,) = installation.versions()
    before = version.stat().st_ino
    installation.call()
    assert (installation.versions(), version.stat().st_ino) == ([version], before)
    (version / "scrun/errors.py").write_text("raise SystemExit('spoilt')")
    installation.call()
    assert installation.versions() == [version]
    assert installation.says() == scrun.__version__


def test_a_version_stays_as_long_as_somebody_holds_it(
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
    installation.call()
    assert installation.versions() == [fourth]
    assert installation.says() == "1.3"


def test_what_is_removed_leaves_only_what_is_held(
    installation: Installation, hold: Callable[[Path], subprocess.Popen[str]]
) -> None:
    version = installation.upgrade("1.0")
    with hold(version):
        said = installation.call("--remove")
        assert said == f"scrun: {version} stays: containers that run need it; remove it when they have ended\n"
        assert installation.versions() == [version]
    installation.call()
    assert installation.call("--remove") == ""
    left = [str(path.relative_to(installation.prefix)) for path in installation.prefix.rglob("*") if path.is_file()]
    assert left == []
