"""Our named tuples do what typing's do."""

from __future__ import annotations

import copy
import pickle
import sys
import typing
from typing import Any

import pytest

if typing.TYPE_CHECKING:
    from typing import NamedTuple
else:
    from scrun.named_tuple import NamedTuple


class Ours(NamedTuple):
    """Words."""

    name: str
    number: int = 7
    rest: tuple[str, ...] = ()

    @property
    def twice(self) -> int:
        return 2 * self.number


class Typings(typing.NamedTuple):
    name: str
    number: int = 7
    rest: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (("a",), {}),
        (("a", 1, ("b",)), {}),
        ((), {"name": "a"}),
        (("a",), {"rest": ("c",)}),
        ((), {"rest": (), "name": ""}),
    ],
)
def test_it_is_made_as_typings(values: Any, named: Any) -> None:
    ours, typings = Ours(*values, **named), Typings(*values, **named)
    assert tuple(ours) == tuple(typings)
    assert (ours.name, ours.number, ours.rest) == (typings.name, typings.number, typings.rest)
    assert ours._asdict() == typings._asdict()
    assert repr(ours) == repr(typings).replace("Typings", "Ours")
    assert tuple(ours._replace(number=9)) == tuple(typings._replace(number=9))
    assert ours.twice == 2 * ours.number
    assert pickle.loads(pickle.dumps(ours)) == copy.deepcopy(ours) == ours
    assert hash(ours) == hash(typings)


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), (("a", 1, (), 4), {}), (("a",), {"name": "b"}), (("a",), {"other": 1}), (("a", 1, ()), {"rest": ()})],
)
def test_wrong_fields_are_an_error_as_there(values: Any, named: Any) -> None:
    for kind in (Ours, Typings):
        with pytest.raises(TypeError):
            kind(*values, **named)


def test_it_has_no_other_attributes() -> None:
    made: Any = Ours("a")
    for name in ("name", "other"):
        with pytest.raises(AttributeError):
            setattr(made, name, 1)
    match made:
        case Ours(name, 7, ()):
            assert name == "a"
        case _:
            raise AssertionError
    assert Ours.__doc__ == "Words."
    assert sys.getsizeof(made) == sys.getsizeof(Typings("a"))
