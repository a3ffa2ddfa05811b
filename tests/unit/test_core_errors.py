"""The tree of errors: drawn as it is, and with the words that docker and podman read."""

from __future__ import annotations

import inspect
import re

import pytest

from scrun import errors

CLASSES = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind)}


def test_docstring_tree_matches_the_class_tree() -> None:
    drawn: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"^    ([│├└─ ]*)([A-Z]\w+)  ", line):
            depth = len(match[1]) // 4
            above[depth:] = [match[2]]
            drawn[match[2]] = above[depth - 1] if depth else "Exception"
    assert drawn == {name: kind.__bases__[0].__name__ for name, kind in CLASSES.items()}


@pytest.mark.parametrize("kind", CLASSES.values())
def test_the_exit_status_of_every_error_is_runcs(kind: type[errors.ScrunError]) -> None:
    assert kind.exit_code == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.ContainerNotFound("c1"), "does not exist"),  # containerd: a delete that succeeded
        (errors.ContainerExists("c1"), "already exists"),
        (errors.InvalidId("c1"), "invalid container id"),
    ],
)
def test_a_containers_error_has_the_callers_words(error: errors.ScrunError, words: str) -> None:
    assert words in str(error)
    assert "c1" in str(error)
    assert not str(error).endswith(".")
