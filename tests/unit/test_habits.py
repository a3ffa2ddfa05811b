"""The sizes that keep the code readable: CONTRIBUTING.md has them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import scrun

SOURCE = Path(scrun.__file__).parent
TESTS = Path(__file__).parents[1]

LINES_OF_A_MODULE = 400
LINES_OF_A_FUNCTION = 60
WORDS_OF_A_TEST = 8
UNTYPED = 20  # times that dict[str, Any] may be written

MODULES = sorted(SOURCE.rglob("*.py"))


def test_no_module_is_too_long() -> None:
    sizes = {str(path.relative_to(SOURCE)): path.read_text().count("\n") for path in MODULES}
    assert {name: lines for name, lines in sizes.items() if lines > LINES_OF_A_MODULE} == {}


def test_no_function_is_too_long() -> None:
    sizes = {
        f"{path.relative_to(SOURCE)}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert {name: lines for name, lines in sizes.items() if lines > LINES_OF_A_FUNCTION} == {}


def test_few_dictionaries_are_untyped() -> None:
    assert sum(path.read_text().count("dict[str, Any]") for path in MODULES) < UNTYPED


def test_a_tests_name_has_few_words() -> None:
    found = {
        path.name: [name for name in names if name.count("_") > WORDS_OF_A_TEST]
        for path in sorted(TESTS.rglob("test_*.py"))
        if (names := re.findall(r"^\s*def (test_\w+)\(", path.read_text(), re.MULTILINE))
    }
    assert {name: long for name, long in found.items() if long} == {}
