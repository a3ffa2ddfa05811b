"""Read and write JSON with the standard library's accelerator, without importing the json package.

``import json`` also imports re and enum, which doubles the start-up time of a bare interpreter, and buildah calls
`scrun state` ten times a second. The C scanner behind json works alone. A document that the scanner rejects is given
to the json package, which has the better error message.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as a type checker sees it; importing typing costs a third of the start-up
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Hook = Callable[[dict[str, Any]], object]

_make_scanner: Callable[..., Any] | None
try:
    from _json import encode_basestring_ascii as _quote
    from _json import make_encoder as _make_encoder
    from _json import make_scanner as _make_scanner
except ImportError:  # an interpreter without the accelerator: json works there as well
    _make_scanner = None


def _constant(text: str) -> float:
    return {"-Infinity": float("-inf"), "Infinity": float("inf"), "NaN": float("nan")}[text]


class _Settings:
    """The attributes of json's default decoder that the scanner reads."""

    strict = True
    object_pairs_hook = None
    array_hook = None  # Python 3.15 asks for it
    parse_float = float
    parse_int = int

    def __init__(self, object_hook: Hook | None, parse_constant: Callable[[str], object] | None) -> None:
        self.object_hook = object_hook
        self.parse_constant = parse_constant or _constant
        self.memo: dict[str, str] = {}


def loads(text: str, *, object_hook: Hook | None = None, parse_constant: Callable[[str], object] | None = None) -> Any:
    """Parse a JSON document; the hooks are those of json.loads.

    Raises:
        ValueError: the text is not JSON; a json.JSONDecodeError with line and column.
        RecursionError: the document is nested too deeply.
    """
    if _make_scanner is not None:
        body = text.lstrip(" \t\n\r")
        try:
            value, end = _make_scanner(_Settings(object_hook, parse_constant))(body, 0)
        except (StopIteration, ValueError, SystemError):  # SystemError: the scanner finds no json package for its error
            pass
        else:
            if not body[end:].strip(" \t\n\r"):
                return value
    import json

    return json.loads(text, object_hook=object_hook, parse_constant=parse_constant)


def copied(value: Any) -> Any:
    """A deep copy of a JSON value, without importing copy."""
    return loads(dumps(value))


def dumps(value: object) -> str:
    """Write a value as a JSON document on one line, in ASCII, as json.dumps does.

    Raises:
        TypeError: JSON has no such type.
    """
    if _make_scanner is None:
        import json

        return json.dumps(value)
    # As json.JSONEncoder calls it: markers, default, encoder, indent, separators, sort_keys, skipkeys, allow_nan.
    write = _make_encoder(None, _refuse, _quote, None, ": ", ", ", False, False, True)
    return "".join(write(value, 0))


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} has no form in JSON")
