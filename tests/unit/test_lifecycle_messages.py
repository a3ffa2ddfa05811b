"""The types of the messages and the checks of those that were read are about the same messages."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from scrun.lifecycle.container import messages, staging_plan, worker_messages
from scrun.lifecycle.process import wire

MODULES: tuple[ModuleType, ...] = (wire, staging_plan, messages, worker_messages)
PLAIN = {"str": "text", "int": 7, "bool": False, "Literal[True]": True, "None": None, "Any": 1}


def _statements(module: ModuleType) -> list[ast.stmt]:
    """All of the module's, with those for type checkers alone."""
    found: list[ast.stmt] = []
    for one in ast.parse(Path(inspect.getfile(module)).read_text()).body:
        found += one.body if isinstance(one, ast.If) else [one]
    return found


STATEMENTS = [one for module in MODULES for one in _statements(module)]
CLASSES = {one.name: one for one in STATEMENTS if isinstance(one, ast.ClassDef)}
ALIASES = {ast.unparse(one.targets[0]): ast.unparse(one.value) for one in STATEMENTS if isinstance(one, ast.Assign)}
CHECKS = {
    one.target.id: ast.unparse(one.annotation).removeprefix("Callable[[object], ").removesuffix("]")
    for one in STATEMENTS
    if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and "Callable" in ast.unparse(one.annotation)
}


def _members(name: str) -> list[str]:
    """The classes of a union, by whatever names."""
    if name in CLASSES:
        return [name]
    return [each for part in ALIASES[name].split(" | ") for each in _members(part)]


def _fields(name: str) -> dict[str, str]:
    """The annotations of a class and of those that it inherits from."""
    if name not in CLASSES:
        return {}
    found: dict[str, str] = {}
    for base in CLASSES[name].bases:
        found |= _fields(ast.unparse(base))
    for one in CLASSES[name].body:
        if isinstance(one, ast.AnnAssign):
            found[ast.unparse(one.target)] = ast.unparse(one.annotation)
    return found


def _value(annotation: str) -> Any:
    if annotation in PLAIN:
        return PLAIN[annotation]
    if annotation.startswith("Literal["):
        return ast.literal_eval(annotation.removeprefix("Literal[").removesuffix("]"))
    return [] if annotation.startswith("list[") else {}


def _samples(name: str) -> list[dict[str, Any]]:
    """A message of the class, with each kind of value that a member may have."""
    fields = {field: text for field, text in _fields(name).items() if not text.startswith("NotRequired")}
    kinds = {field: text.split(" | ") for field, text in fields.items()}
    several = max((len(each) for each in kinds.values()), default=1)
    return [{field: _value(each[turn % len(each)]) for field, each in kinds.items()} for turn in range(several)]


def _check(name: str) -> wire.Check:
    found = getattr(messages, name, None) or getattr(worker_messages, name)
    assert isinstance(found, wire.Check)
    return found


def _has(message: dict[str, Any], form: wire.Form) -> bool:
    try:
        return wire.Check(form)(message) is message
    except ValueError:
        return False


@pytest.mark.parametrize("name", CHECKS)
def test_each_message_of_a_type_has_one_form(name: str) -> None:
    classes, forms = _members(CHECKS[name]), _check(name).forms
    assert len(classes) == len(forms)
    for one in classes:
        for sample in _samples(one):
            assert sum(_has(sample, form) for form in forms) == 1, (one, sample)


@pytest.mark.parametrize("name", CHECKS)
def test_a_form_names_members_of_its_type(name: str) -> None:
    fields = [set(_fields(one)) for one in _members(CHECKS[name])]
    assert all(any(set(form) <= each for each in fields) for form in _check(name).forms)


@pytest.mark.parametrize("name", CHECKS)
def test_a_member_of_another_type_is_no_message(name: str) -> None:
    for one in _members(CHECKS[name]):
        for sample in _samples(one):
            for field in {key for form in _check(name).forms if _has(sample, form) for key in form} - {"answer"}:
                with pytest.raises(ValueError, match=r"^no message of this connection: "):
                    _check(name)({**sample, field: 1.5})


def test_every_check_is_used() -> None:
    source = Path(inspect.getfile(wire)).parents[2]
    text = "".join(path.read_text() for path in source.rglob("*.py"))
    assert len(CHECKS) > 15
    assert [name for name in CHECKS if text.count(name) < 2] == []


@pytest.mark.parametrize("message", [None, 7, [], {}, {"do": "dance"}, {"do": "exit"}, {"do": "exit", "status": True}])
def test_what_has_no_form_is_refused(message: object) -> None:
    with pytest.raises(ValueError, match=r"^no message of this connection"):
        messages.to_standin(message)


def test_an_error_tells_none_of_the_values() -> None:
    with pytest.raises(ValueError, match=r"^no message of this connection: do, password$"):
        messages.to_standin({"do": "tell", "password": "secret"})
