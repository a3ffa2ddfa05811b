"""Convert values between Python and Lua.

A Lua string has bytes. It becomes a str with ``surrogateescape``, so that any path survives. A dict becomes a table
that is marked as an object, so that an empty one stays an object in JSON. None in a list becomes json.null.
"""

from __future__ import annotations

from scrun.errors import HookError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

DEEPEST = 100  # levels of nested tables, because a table that contains itself never ends
INT64 = range(-(2**63), 2**63)


def to_bytes(text: str) -> bytes:
    """A text as a Lua string; surrogates become the bytes that they stand for."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate from a JSON file
        return text.encode("utf-8", "surrogatepass")


def to_text(data: bytes) -> str:
    """A Lua string as text, the inverse of :func:`to_bytes`."""
    return data.decode("utf-8", "surrogateescape")


def readable(data: bytes) -> str:
    """A Lua string for people, with bytes that aren't UTF-8 as ``\\xff``, which any terminal and log takes."""
    return data.decode("utf-8", "backslashreplace")


def one_line(data: bytes) -> str:
    """A Lua string as one line, for a message."""
    return "; ".join(line.strip() for line in readable(data).splitlines() if line.strip())


class Converter:
    """A converter for one Lua state, which has the functions and the null value that it is made with."""

    def __init__(self, new_table: Callable[[], Any], kind: Callable[[Any], Any], mark: Callable[..., Any], null: Any):
        self._new_table = new_table
        self._kind = kind
        self._mark = mark
        self._null = null

    def to_lua(self, value: object) -> object:
        """Convert a Python value to Lua.

        Raises:
            TypeError: Lua has no such type.
        """
        if isinstance(value, str):
            return to_bytes(value)
        if isinstance(value, dict):
            return self._object(value)
        if isinstance(value, list | tuple):
            table = self._new_table()
            for number, item in enumerate(value, 1):
                table[number] = self._null if item is None else self.to_lua(item)
            return table
        if isinstance(value, int) and value not in INT64:
            return float(value)
        if value is None or isinstance(value, bool | int | float | bytes):
            return value
        raise TypeError(f"Lua can't be given a {type(value).__name__}")

    def _object(self, value: dict[str, object]) -> object:
        table, keys = self._new_table(), self._new_table()
        for number, (key, item) in enumerate(value.items(), 1):
            keys[number] = to_bytes(key)
            table[keys[number]] = self.to_lua(item)
        return self._mark(table, keys)

    def from_lua(self, value: Any, depth: int = 0) -> object:
        """Convert a Lua value to Python.

        Raises:
            HookError: the value is a function, a table with both list and object keys, or contains itself.
        """
        if isinstance(value, bytes):
            return to_text(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        shape, length = self._shape(value)
        if shape == b"null":
            return None
        if depth >= DEEPEST:
            raise HookError("a table contains itself, or is nested too deep")
        if shape == b"array":
            return [self.from_lua(value[number], depth + 1) for number in range(1, length + 1)]
        return {to_text(key): self.from_lua(item, depth + 1) for key, item in value.items()}

    def _shape(self, value: Any) -> tuple[bytes, int]:
        ok, shape, length = self._kind(value)
        if not ok:
            raise HookError(readable(shape))
        return shape, length or 0
