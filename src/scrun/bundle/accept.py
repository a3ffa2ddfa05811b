"""A fast validator for config.json: yes or no, in well under a millisecond.

Importing jsonschema takes 100 ms or more, so a valid config never needs it. Only when this validator says no does
:func:`scrun.bundle.config.check_config` ask jsonschema for the verdict and the error message. Both use the same schema
file. A schema keyword that this module doesn't know raises an error, so the two validators can't drift apart.

This module knows exactly the keywords that config.schema.json uses. It knows ``pattern`` only for the patterns in
:data:`_PATTERNS`, because importing ``re`` takes too long.
"""

# Every keyword's check takes the same three arguments, used or not.
# ruff: noqa: ARG001

from __future__ import annotations

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Schema = dict[str, Any]


class UnknownKeyword(Exception):
    """A schema keyword that this module doesn't implement: a mistake in the code, not in a config."""


def accepts(value: Any, schema: Schema, root: Schema) -> bool:
    """Whether ``value``, as json.loads returns it, is valid against ``schema``.

    Args:
        value: a parsed JSON value.
        schema: the schema, or a part of one.
        root: the whole schema, which ``$ref`` refers to.

    Raises:
        UnknownKeyword: the schema uses a keyword or a pattern that isn't implemented here.
    """
    for keyword in schema:
        check = _KEYWORDS.get(keyword)
        if check is None:
            raise UnknownKeyword(keyword)
        if not check(value, schema, root):
            return False
    return True


def _annotation(value: Any, schema: Schema, root: Schema) -> bool:
    return True


def _ref(value: Any, schema: Schema, root: Schema) -> bool:
    prefix, _, name = schema["$ref"].rpartition("/")
    if prefix != "#/$defs":
        raise UnknownKeyword(schema["$ref"])
    return accepts(value, root["$defs"][name], root)


def _type(value: Any, schema: Schema, root: Schema) -> bool:
    is_type = _TYPES.get(str(schema["type"]))
    if is_type is None:
        raise UnknownKeyword(f"type {schema['type']}")
    return is_type(value)


def _required(value: Any, schema: Schema, root: Schema) -> bool:
    return not isinstance(value, dict) or all(key in value for key in schema["required"])


def _properties(value: Any, schema: Schema, root: Schema) -> bool:
    if not isinstance(value, dict):
        return True
    known = schema["properties"]
    return all(accepts(member, known[key], root) for key, member in value.items() if key in known)


def _additional_properties(value: Any, schema: Schema, root: Schema) -> bool:
    if "properties" in schema:
        raise UnknownKeyword("additionalProperties beside properties")
    rule = schema["additionalProperties"]
    return not isinstance(value, dict) or all(accepts(member, rule, root) for member in value.values())


def _items(value: Any, schema: Schema, root: Schema) -> bool:
    rule = schema["items"]
    return not isinstance(value, list) or all(accepts(member, rule, root) for member in value)


def _min_items(value: Any, schema: Schema, root: Schema) -> bool:
    return not isinstance(value, list) or len(value) >= schema["minItems"]


def _min_length(value: Any, schema: Schema, root: Schema) -> bool:
    return not isinstance(value, str) or len(value) >= schema["minLength"]


def _minimum(value: Any, schema: Schema, root: Schema) -> bool:
    return not _is_number(value) or value >= schema["minimum"]


def _maximum(value: Any, schema: Schema, root: Schema) -> bool:
    return not _is_number(value) or value <= schema["maximum"]


def _enum(value: Any, schema: Schema, root: Schema) -> bool:
    return value in schema["enum"]  # strings only: a test holds the schema to it


def _pattern(value: Any, schema: Schema, root: Schema) -> bool:
    matches = _PATTERNS.get(schema["pattern"])
    if matches is None:
        raise UnknownKeyword(f"pattern {schema['pattern']}")
    return not isinstance(value, str) or matches(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    """Whether a value is an integer: 1.0 is one (JSON Schema 2020-12, validation 6.1.1), True is none."""
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())


def _is_semver_1(text: str) -> bool:
    """Whether a text is 1.MINOR.PATCH with an optional -PRERELEASE and +BUILD, as ociVersion must be."""
    core, plus, build = text.partition("+")
    core, dash, prerelease = core.partition("-")
    major, *numbers = core.split(".")
    return (
        major == "1"
        and len(numbers) == 2
        and all(n.isascii() and n.isdigit() and (n == "0" or n[0] != "0") for n in numbers)
        and (not dash or _is_identifiers(prerelease))
        and (not plus or _is_identifiers(build))
    )


def _is_cpu_list(text: str) -> bool:
    return not text.strip("0123456789, -")


def _is_page_size(text: str) -> bool:
    """Whether a text is a number without leading zeros, and KB, MB or GB."""
    number, unit = text[:-2], text[-2:]
    return number.isascii() and number.isdigit() and number[0] != "0" and unit in ("KB", "MB", "GB")


def _is_bandwidth(text: str) -> bool:
    return text.startswith("MB:") and "\n" not in text


def _is_identifiers(text: str) -> bool:
    return text.isascii() and text.replace(".", "0").replace("-", "0").isalnum()


_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_integer,
}

_PATTERNS: dict[str, Callable[[str], bool]] = {
    "^/": lambda text: text.startswith("/"),
    r"^[0-9, -]*(?!\n)$": _is_cpu_list,
    r"^[1-9][0-9]*[KMG]B(?!\n)$": _is_page_size,
    r"^MB:[^\n]*(?!\n)$": _is_bandwidth,
    r"^1\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?(?!\n)$": _is_semver_1,
}

_KEYWORDS: dict[str, Callable[[Any, Schema, Schema], bool]] = {
    "$schema": _annotation,
    "$comment": _annotation,
    "$defs": _annotation,
    "title": _annotation,
    "$ref": _ref,
    "type": _type,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional_properties,
    "items": _items,
    "minItems": _min_items,
    "minLength": _min_length,
    "minimum": _minimum,
    "maximum": _maximum,
    "enum": _enum,
    "pattern": _pattern,
}
