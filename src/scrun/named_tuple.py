"""Named tuples like typing.NamedTuple's, without importing typing or collections.

typing would be half of a worker's imports, and each class that collections makes takes 0.3 ms. Type checkers see
typing's own class::

    if TYPE_CHECKING:
        from typing import NamedTuple
    else:
        from scrun.named_tuple import NamedTuple
"""

from __future__ import annotations

from _operator import itemgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Self


class _Tuple(tuple):  # type: ignore[type-arg]
    """What all of them can."""

    __slots__ = ()
    _fields: tuple[str, ...] = ()
    _field_defaults: Mapping[str, Any] = {}

    def __new__(cls, /, *values: Any, **named: Any) -> Self:
        if named or len(values) != len(cls._fields):
            values = cls._all(values, named)
        return super().__new__(cls, values)

    @classmethod
    def _all(cls, values: Sequence[Any], named: Mapping[str, Any]) -> tuple[Any, ...]:
        given = dict(zip(cls._fields, values, strict=False))
        if len(values) > len(cls._fields):
            raise TypeError(f"{cls.__name__} has {len(cls._fields)} fields, and {len(values)} values are given")
        if wrong := [name for name in named if name in given or name not in cls._fields]:
            raise TypeError(f"{cls.__name__} has no field {wrong[0]!r}, or it is given twice")
        given = {**cls._field_defaults, **given, **named}
        if missing := [name for name in cls._fields if name not in given]:
            raise TypeError(f"{cls.__name__} needs a value for {missing[0]!r}")
        return tuple(given[name] for name in cls._fields)

    def _asdict(self) -> dict[str, object]:
        return dict(zip(self._fields, self, strict=True))

    def _replace(self, /, **named: Any) -> Self:
        return self.__class__(**{**self._asdict(), **named})

    def __repr__(self) -> str:
        values = (f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
        return f"{self.__class__.__name__}({', '.join(values)})"

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)


class _Meta(type):
    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
        if not bases:
            return super().__new__(cls, name, bases, body)
        fields = tuple(body.get("__annotations__", ()))
        made = {key: value for key, value in body.items() if key not in fields}
        made["__slots__"] = ()
        made["_fields"] = made["__match_args__"] = fields
        made["_field_defaults"] = {field: body[field] for field in fields if field in body}
        made.update({field: property(itemgetter(index)) for index, field in enumerate(fields)})
        return type(name, (_Tuple,), made)


class NamedTuple(metaclass=_Meta):
    """A base class for named tuples: annotate the fields, those with defaults last.

    The subclass's module needs ``from __future__ import annotations``.
    """
