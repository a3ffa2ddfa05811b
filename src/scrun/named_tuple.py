"""Named tuples like typing.NamedTuple's, without importing typing.

typing would be half of a worker's imports. Type checkers see typing's own class::

    if TYPE_CHECKING:
        from typing import NamedTuple
    else:
        from scrun.named_tuple import NamedTuple
"""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Meta(type):
    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
        if not bases:
            return super().__new__(cls, name, bases, body)
        fields = list(body.get("__annotations__", ()))
        made = namedtuple(name, fields, defaults=[body[field] for field in fields if field in body])  # type: ignore[misc]  # mypy wants literals
        for key, value in body.items():
            if key not in fields and key != "__annotations__":
                setattr(made, key, value)
        return made


class NamedTuple(metaclass=_Meta):
    """A base class for named tuples: annotate the fields, those with defaults last.

    The subclass's module needs ``from __future__ import annotations``.
    """
