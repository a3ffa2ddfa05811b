"""The arguments of a container's program, as srun passes them on."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrun.bundle import arguments
from scrun.errors import BundleError


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A root filesystem with two programs."""
    (tmp_path / "bin").mkdir()
    for name in ("cut", "sh"):
        (tmp_path / "bin" / name).write_text("")
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def fitted(rootfs: Path, *args: str) -> list[str]:
    process = {"args": list(args), "cwd": "/", "env": ["PATH=/bin"]}
    config: Any = {"process": process}
    return arguments.for_srun(f"/bin/{args[0]}", config, str(rootfs), "/")


def test_the_program_is_named_by_its_path(rootfs: Path) -> None:
    assert fitted(rootfs, "cut", "-d::", "a : b", "") == ["/bin/cut", "-d::", "a : b", ""]


def test_arguments_like_srun_separators_use_a_shell(rootfs: Path) -> None:
    assert fitted(rootfs, "cut", "-d", ":", "it's") == ["/bin/sh", "-c", r"exec '/bin/cut' '-d' ':' 'it'\''s'"]


def test_without_a_shell_it_is_refused(rootfs: Path) -> None:
    (rootfs / "bin" / "sh").unlink()
    with pytest.raises(
        BundleError, match=r"srun can't pass an argument that is just ':', and the container has no /bin"
    ):
        fitted(rootfs, "cut", ":")


WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.lists(WORDS))
def test_a_shell_gives_the_program_the_very_words(words: list[str]) -> None:
    script = " ".join(map(arguments.quoted, words))
    done = subprocess.run(
        ["/bin/sh", "-c", f"for word in {script}; do printf '%s\\0' \"$word\"; done"], capture_output=True, check=True
    )
    assert done.stdout.decode().split("\0")[:-1] == words


@pytest.mark.parametrize("size", [arguments.LONGEST, arguments.LONGEST + 1])
def test_argument_size_is_limited_by_linux(rootfs: Path, size: int) -> None:
    if size == arguments.LONGEST:
        assert fitted(rootfs, "cut", "x" * size)[1] == "x" * size
        return
    with pytest.raises(BundleError, match="an argument has 131072 bytes, and at most 131071 can be passed"):
        fitted(rootfs, "cut", "x" * (size - 1) + "\udcff")


def test_total_argument_size_is_limited_by_slurm(rootfs: Path) -> None:
    sizes = [arguments.LONGEST] * (arguments.ALL // (arguments.LONGEST + 1))
    rest = arguments.ALL - sum(size + 1 for size in sizes) - len("/bin/cut") - 1
    args = ["x" * size for size in (*sizes, rest - 1)]
    assert len(fitted(rootfs, "cut", *args)) == len(args) + 1
    with pytest.raises(BundleError, match=f"{arguments.ALL + 1} bytes in all, and Slurm takes at most {arguments.ALL}"):
        fitted(rootfs, "cut", *args[:-1], args[-1] + "x")
