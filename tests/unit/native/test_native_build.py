"""scrun-node as scrun's build compiles it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from builds import ROOMS, built

from .conftest import SOURCES

COMPILERS = {"x86_64": "gcc", "aarch64": "aarch64-linux-gnu-gcc"}  # Debian: gcc-aarch64-linux-gnu


@pytest.mark.parametrize("name", ROOMS)
@pytest.mark.parametrize("machine", COMPILERS)
def test_it_is_small_static_and_quiet(machine: str, name: str) -> None:
    """All programs compile without a warning (-Werror) for both kinds of processors, where there is a compiler."""
    program = built(name, compiler=COMPILERS[machine])
    said = subprocess.run(["readelf", "-hld", program], capture_output=True, text=True, check=True).stdout
    assert "INTERP" not in said
    assert "EXEC (Executable file)" in said
    assert program.stat().st_size <= 100_000


def test_what_it_says_when_it_is_called_wrongly() -> None:
    program = built("native")
    done = subprocess.run(["scrun-node", "-h"], executable=program, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "scrun-node: it is called by a container's runtime: agent, inside or flush, and the path of a connection file\n"
    )
    done = subprocess.run(["/nowhere/tool", "x"], executable=program, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("scrun-node: the container's init finds no agent")


def test_files_stay_readable() -> None:
    """No file of it is longer than what is read at once."""
    for room in ROOMS:
        for path in SOURCES.with_name(room).glob("*.[ch]"):
            lines = path.read_text().splitlines()
            assert len(lines) < 400, path
            assert max(map(len, lines)) <= 120, path


CLOSER = """
#include "descriptors.h"
long old_kernel(long number, ...) { (void)number; return -1; }
int main(int count, char **words, char **environment) {
    (void)count; (void)words; (void)environment;
    int kept[] = {9, -1, 5};
    for (int fd = 3; fd < 12; fd++) if (dup2(2, fd) < 0) return 1;
    close_all_but(kept, 3);
    for (int fd = 0; fd < 12; fd++) if ((fcntl(fd, F_GETFD) >= 0) != (fd < 3 || fd == 5 || fd == 9)) return 2;
    return 0;
}
"""


@pytest.mark.parametrize("options", [[], ["-Dsyscall=old_kernel"]])
def test_descriptors_are_closed_by_old_kernels_too(options: list[str], tmp_path: Path) -> None:
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc to build it with")
    source, program = tmp_path / "main.c", tmp_path / "program"
    source.write_text(CLOSER)
    files = [source, SOURCES / "descriptors.c"]
    subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", f"-I{SOURCES}", "-o", program, *files, *options], check=True)
    assert subprocess.run([program], check=False).returncode == 0
