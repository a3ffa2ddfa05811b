"""The sdist and the wheel: what pip, pipx and uv build from, and what they install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path, PurePosixPath

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
# What is of use on the checkout's own host alone, and what a build adds.
NOT_IN_SDIST = {".ci/run", ".gitignore", ".pre-commit-config.yaml"}
COMMIT = "src/scrun/commit.txt"
PROGRAM = "scrun/native/scrun-node"
PROGRAMS = {PROGRAM, "scrun/front/scrun-front", "scrun/wait/scrun-wait", "scrun/network/scrun-network"}
MADE = {"PKG-INFO", "setup.cfg", COMMIT}


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    """The checkout's files."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout, whose files git could name")
    done = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True)
    return {name for name in done.stdout.split("\0") if name and (ROOT / name).exists()}


@pytest.fixture(scope="module")
def built(tracked: set[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with the sdist, and the wheel that was built from that sdist, without Slurm's part."""
    copy, made = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("made")
    for name in tracked:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    for words in ("init -q", "add -A", "-c user.name=t -c user.email=t@t.example commit -q -m t"):
        subprocess.run(["git", "-C", str(copy), *words.split()], check=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(made), str(copy)]
    environment = {**os.environ, "SCRUN_WITHOUT_SLURM": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return message_from_string(wheel.read(name).decode())


def test_the_sdist_is_the_checkout(built: Path, tracked: set[str]) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        members = [member for member in archive.getmembers() if not member.isdir()]
    assert {member.name for member in members if not member.isfile()} == set(), "pip unpacks no links everywhere"
    names = {str(PurePosixPath(*PurePosixPath(member.name).parts[1:])) for member in members}
    assert {name for name in names - MADE if ".egg-info/" not in name} == tracked - NOT_IN_SDIST
    assert COMMIT in names


def test_the_wheel_has_exactly_the_whole_package(wheel: zipfile.ZipFile, tracked: set[str]) -> None:
    package = {name.removeprefix("src/") for name in tracked if name.startswith("src/")}
    commit = COMMIT.removeprefix("src/")
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} - PROGRAMS == package | {commit}
    assert len(bytes.fromhex(wheel.read(commit).decode())) == 6


@pytest.mark.skipif(not shutil.which("gcc"), reason="there is no gcc to compile the native programs with")
def test_the_wheel_has_the_native_programs(wheel: zipfile.ZipFile) -> None:
    for name in PROGRAMS:
        assert wheel.getinfo(name).external_attr >> 16 & 0o111 == 0o111
        assert wheel.read(name).startswith(b"\x7fELF")
    assert len(wheel.read(PROGRAM)) <= 100_000, "it travels with each carried bundle"


def test_the_metadata_are_what_an_index_shows(metadata: Message) -> None:
    assert metadata["Name"] == "scrun"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text()
    assert metadata["License-Expression"] == "GPL-2.0-or-later"
    assert metadata["License-File"] == "LICENSE"
    assert "Programming Language :: Python :: 3.11" in metadata.get_all("Classifier", [])


def test_the_program_that_pip_writes_calls_main(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt")]
    assert wheel.read(name).decode().split() == ["[console_scripts]", "scrun", "=", "scrun.__main__:main"]


def test_the_tools_build_as_pip_does() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert {*project["build-system"]["requires"]} <= {*project["project"]["optional-dependencies"]["dev"]}
