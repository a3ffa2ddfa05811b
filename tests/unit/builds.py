"""scrun's native programs: each is built once, for all workers of a run and for later runs.

Built ones are in the cache, each in a directory that is named by what it was built from.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

import scrun

ROOMS = ("native", "front", "network", "wait")
# For a program with the C library, in which an error of memory or of arithmetic ends the program.
SANITIZED = ("--hosted", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

_PACKAGE = Path(scrun.__file__).parent
_KEPT = 14 * 86400  # seconds that a program stays in the cache after its last use


def built(room: str, *options: str, compiler: str = "gcc") -> Path:
    """Return the program of ``room``, one of ROOMS, as its script ``build`` makes it.

    Args:
        room: the package's directory with the sources.
        options: "--hosted", if it has the C library, and the compiler's options then.
        compiler: its name or path. The test is skipped if it isn't there.

    Raises:
        AssertionError: the compiler has an error or a warning.
    """
    path = shutil.which(compiler)
    if not path:
        pytest.skip(f"there is no {compiler} to build scrun's native programs with")
    there = cache() / f"{room}-{_digest(path, *options)}"
    program = there / f"scrun-{'node' if room == 'native' else room}"
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _build(_PACKAGE / room / "build", program, path, options)
            _remove_old()
        os.utime(there)
    return program


def cache() -> Path:
    """The directory of what is kept between runs of the tests."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "scrun")
    path = Path(os.environ.get("SCRUN_CACHE") or home, "built-for-tests")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _digest(compiler: str, *options: str) -> str:
    """What a program is built from: all rooms' files, for they include each other's; the compiler; the options."""
    about = os.stat(compiler)
    made = hashlib.sha256(repr((compiler, about.st_size, about.st_mtime_ns, options)).encode())
    for room in ROOMS:
        for path in sorted((_PACKAGE / room).iterdir()):
            if path.name == "build" or path.suffix in (".c", ".h"):
                made.update(f"{path}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return made.hexdigest()[:16]


def _build(script: Path, program: Path, compiler: str, options: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory(dir=program.parent.parent) as directory:
        fresh = Path(directory, program.name)
        hosted, more = options[:1], options[1:]
        environment = {"CC": compiler, "PATH": "/usr/bin:/bin"}
        command = [str(script), *hosted, str(fresh), *more]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        program.parent.mkdir(exist_ok=True)
        fresh.rename(program)


def _remove_old() -> None:
    for path in cache().iterdir():
        if path.stat().st_mtime < time.time() - _KEPT:
            if path.is_dir():
                shutil.rmtree(path)
            else:  # of shellcheck.py
                path.unlink(missing_ok=True)
