"""The list of smoke tests that run on a cluster with each profile names tests that there are."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = [line for line in (ROOT / "tests/integration/sites/smoke").read_text().splitlines() if line and line[0] != "#"]


@pytest.mark.parametrize("line", NAMED)
def test_a_smoke_test_is_there(line: str) -> None:
    path, _, name = line.partition("[")[0].partition("::")
    functions = {node.name for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.FunctionDef)}
    assert not name or name in functions
