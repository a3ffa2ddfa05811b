"""docs/admin.md says of no version that it is tested but those that the clusters have."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from . import slurm

PAGE = (Path(__file__).parents[2] / "docs/admin.md").read_text().partition("## What is supported")[2]
pytestmark = pytest.mark.slurm_only("is no part of the table")


def versions_of(part: str) -> list[str]:
    """The versions in the table's second column."""
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| {part} |"))
    return re.findall(r"\d+\.\d+", row.split(" | ")[1])


def version(said: str) -> str:
    """Major and minor version of what a program says first."""
    found = re.search(r"(\d+\.\d+)", said)
    assert found, said
    return found[1]


@pytest.mark.parametrize(
    ("part", "command"),
    [
        ("Slurm", "scontrol --version"),
        ("podman", "podman --version"),
        ("docker", "docker --version"),
    ],
)
def test_tested_version_is_in_the_table(part: str, command: str) -> None:
    done = subprocess.run(command.split(), capture_output=True, text=True, check=True, timeout=30)
    assert version(done.stdout) in versions_of(part)


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_the_nodes_runtimes_are_in_the_table(runtime: str) -> None:
    assert version(slurm.on_node("node1", f"{runtime} --version")) in versions_of(runtime)


def test_python_is_in_the_table() -> None:
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in versions_of("Python")
