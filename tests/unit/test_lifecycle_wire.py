"""Messages between the processes: cut right however they arrive, and errors that stay what they are."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from unchecked import anything

from scrun import errors
from scrun.lifecycle.process import wire

CLASSES = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.ScrunError)]


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    """Two connected descriptors."""
    here, there = wire.pair()
    yield here, there
    for descriptor in (here, there):
        try:
            os.close(descriptor)
        except OSError:
            pass  # closed by the test


def test_the_ends_of_a_pair_are_not_inherited(ends: tuple[int, int]) -> None:
    assert not any(os.get_inheritable(descriptor) for descriptor in ends)


@pytest.mark.parametrize("message", [{}, {"a": 1}, {"text": "two\nlines ☃ \udcff"}, {"deep": [{"er": None}]}])
def test_a_message_arrives_as_it_was_sent(message: dict[str, Any], ends: tuple[int, int]) -> None:
    assert wire.send(ends[0], message)
    assert wire.Reader(ends[1]).next(anything) == message


def test_messages_arriving_together_are_read_singly(ends: tuple[int, int]) -> None:
    for number in range(3):
        wire.send(ends[0], {"number": number})
    reader = wire.Reader(ends[1])
    assert [reader.next(anything) for _ in range(3)] == [{"number": 0}, {"number": 1}, {"number": 2}]


def test_one_read_gives_all_that_it_completed(ends: tuple[int, int]) -> None:
    os.write(ends[0], b'{"a": 1}\n{"b": 2}\n{"c"')
    reader = wire.Reader(ends[1])
    assert reader.read(anything) == [{"a": 1}, {"b": 2}]
    os.write(ends[0], b": 3}\n")
    assert reader.read(anything) == [{"c": 3}]


def test_a_message_may_arrive_byte_by_byte(ends: tuple[int, int]) -> None:
    reader = wire.Reader(ends[1])
    got: list[Any] = []
    for byte in b'{"a": "b"}\n':
        os.write(ends[0], bytes([byte]))
        got += reader.read(anything) or []
    assert got == [{"a": "b"}]


def test_a_message_larger_than_the_sockets_buffer_arrives(
    ends: tuple[int, int], fork: Callable[..., int], exit_code: Callable[[int], int]
) -> None:
    message = {"large": "x" * (4 << 20)}
    pid = fork(lambda: int(wire.send(ends[0], message)))
    assert wire.Reader(ends[1]).next(anything) == message
    assert exit_code(pid) == 1


def test_pieces_of_a_message_are_read_once(
    ends: tuple[int, int], fork: Callable[..., int], exit_code: Callable[[int], int]
) -> None:
    size = 2 << 20
    pid = fork(lambda: int(wire.send(ends[0], {"large": "x" * size})))
    looked_at = 0

    def count(_frame: object, event: str, called: Any) -> None:
        nonlocal looked_at
        if event == "c_call" and called.__name__ == "split":
            looked_at += len(called.__self__)

    sys.setprofile(count)
    try:
        message = wire.Reader(ends[1]).next(anything)
    finally:
        sys.setprofile(None)
    assert message
    assert exit_code(pid) == 1
    assert size < looked_at < 2 * size


class Small(wire.Reader):
    """One for whom a little is too much."""

    LARGEST = 1000


def test_an_oversized_message_is_not_collected_forever(ends: tuple[int, int]) -> None:
    reader = Small(ends[1])
    os.write(ends[0], b"x" * 1001)
    assert reader.read(anything) == []
    os.write(ends[0], b"x")
    assert reader.read(anything) is None, "whoever sends it is hung up on"


def test_many_messages_are_more_than_the_largest_together(ends: tuple[int, int]) -> None:
    reader = Small(ends[1])
    for _ in range(3):
        os.write(ends[0], b"{}\n" * 500)
        assert reader.read(anything) == [{}] * 500


def test_the_stream_ends_even_after_half_a_message(ends: tuple[int, int]) -> None:
    os.write(ends[0], b'{"a": ')
    os.close(ends[0])
    assert wire.Reader(ends[1]).next(anything) is None


def test_sending_to_nobody_is_false(ends: tuple[int, int]) -> None:
    os.close(ends[1])
    assert wire.send(ends[0], {"a": 1}) is False


def test_what_is_no_message_is_an_error(ends: tuple[int, int]) -> None:
    os.write(ends[0], b"garbage\n")
    with pytest.raises(ValueError, match="Expecting value"):
        wire.Reader(ends[1]).read(anything)


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_crosses_the_wire_unchanged(kind: type[errors.ScrunError], ends: tuple[int, int]) -> None:
    taken = len(inspect.signature(kind).parameters) if "__init__" in vars(kind) else 1
    error = kind(*["c1"] * taken)  # of some it is the container's id, and the message is made of it
    wire.send(ends[0], wire.failure(error))
    with pytest.raises(errors.ScrunError) as raised:
        wire.raise_failure(wire.Reader(ends[1]).next(anything) or {})
    assert type(raised.value) is kind
    assert (str(raised.value), raised.value.exit_code) == (str(error), error.exit_code)


@pytest.mark.parametrize("name", ["OSError", "NoSuchError"])
def test_what_is_no_error_of_ours_becomes_one(name: str) -> None:
    with pytest.raises(errors.ScrunError, match=r"^text$") as raised:
        wire.raise_failure({"error": name, "message": "text"})
    assert type(raised.value) is errors.ScrunError


def test_a_message_without_an_error_raises_none() -> None:
    wire.raise_failure({"created": True})
