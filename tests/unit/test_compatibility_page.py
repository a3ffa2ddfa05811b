"""docs/compatibility.md says of no command more than a test holds, and forgets none."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/compatibility.md").read_text()
INTEGRATION = ROOT / "tests/integration"

# What docker and podman have, of their versions 28 and 5, that has to do with a runtime or with what it is told.
COMMANDS = (
    *("run", "create", "start", "stop", "restart", "kill", "rm", "pause", "unpause", "wait", "attach", "logs", "exec"),
    *("top", "stats", "inspect", "ps", "cp", "diff", "commit", "export", "port", "rename", "update", "events", "build"),
    *("compose up", "pod create", "kube play", "checkpoint", "restore", "init", "clone", "cleanup", "prune", "volume"),
    *("--health-cmd", "--restart", "--network none", "--network host", "buildah build", "buildah run"),
)


def rows() -> list[list[str]]:
    """The cells of the table of commands."""
    table = PAGE.partition("## Commands")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


@functools.cache
def those_that_there_are() -> set[str]:
    """Each integration test, as file::name."""
    return {
        f"{path.name}::{node.name}"
        for path in INTEGRATION.glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def named(row: list[str]) -> tuple[str, list[str]]:
    """The marker of a row, "tests" or "open", and what it names."""
    found = re.fullmatch(r".*<!-- (tests|open): (.+) -->", row[-1])
    assert found, f"{row[0]}: no tests are named"
    return found[1], found[2].split()


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_row_names_tests_that_there_are(row: list[str]) -> None:
    assert len(row) == 5
    kind, names = named(row)
    assert names
    if kind == "tests":  # else they come with the command, on another branch
        assert set(names) <= those_that_there_are()


def test_no_command_is_forgotten() -> None:
    said = " ".join(re.sub(r"[,`]", " ", row[0]) for row in rows())
    words = f" {' '.join(said.split())} "
    assert [command for command in COMMANDS if f" {command} " not in words] == []


def test_each_row_says_how_docker_and_podman_fare() -> None:
    for row in rows():
        assert all(re.match("✓|\\(✓\\)|✗|\N{EN DASH}|\\d+", cell) for cell in row[1:3]), row[0]
