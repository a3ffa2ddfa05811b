"""Error messages for an invalid config.json. Only this module imports jsonschema, which takes 100 ms or more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scrun.bundle.accept import Schema

_LONGEST = 60
"""Characters of a wrong value that a message shows."""

_ARTICLED = {
    "object": "an object",
    "array": "an array",
    "string": "a string",
    "boolean": "true or false",
    "integer": "an integer",
}


def complaints(value: Any, schema: Schema) -> list[str]:
    """One line for each violation of ``schema`` in ``value``; empty when the value is valid.

    The lines are sorted by depth, then by path, so that the same file always gets the same message.
    """
    errors = jsonschema.Draft202012Validator(schema).iter_errors(value)
    lines = {line for error in errors for line in _lines(error, schema)}
    return [f"{path}: {line}" if path else line for _, path, line in sorted(lines)]


def _lines(error: jsonschema.ValidationError, root: Schema) -> Iterator[tuple[int, str, str]]:
    """The depth in the file, the path, and the message for one error of jsonschema."""
    steps = list(error.absolute_path)
    schema: Any = error.schema
    value: Any = error.instance
    if error.validator == "required":
        # jsonschema names the object that lacks the member, but a person looks for the member.
        for key in schema["required"]:
            if key not in value:
                expected = _expected(schema["properties"][key], root)
                yield len(steps) + 1, _path([*steps, key]), f"is missing, expected {expected}"
    else:
        yield len(steps), _path(steps), f"expected {_expected(schema, root)}, found {_shown(value, steps)}"


def _path(steps: Iterable[str | int]) -> str:
    path = ""
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step.isidentifier():
            path += f".{step}" if path else step
        else:
            path += f"[{json.dumps(step)}]"
    return path


def _expected(schema: Schema, root: Schema, *, many: bool = False) -> str:
    """What ``schema`` requires, in words; with ``many`` in the plural, as in "an array of strings"."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if many:
        return f"{schema['type']}s" if "type" in schema else "values"
    if "title" in schema:
        return str(schema["title"])
    if "enum" in schema:
        return "one of " + ", ".join(word or '""' for word in schema["enum"])
    if "minimum" in schema:
        return f"an integer from {schema['minimum']} to {schema['maximum']}"
    words = _ARTICLED.get(schema.get("type", ""), "a value")
    if "items" in schema:
        words = "a non-empty array" if schema.get("minItems") else words
        return f"{words} of {_expected(schema['items'], root, many=True)}"
    if "additionalProperties" in schema:
        return f"{words} of {_expected(schema['additionalProperties'], root, many=True)}"
    return words


def _shown(value: Any, steps: list[str | int]) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array" if value else "an empty array"
    if steps[:2] == ["process", "env"]:  # the value may be a secret
        return "a string" if isinstance(value, str) else "true or false" if isinstance(value, bool) else "a number"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
