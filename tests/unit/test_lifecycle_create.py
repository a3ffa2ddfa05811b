"""create: what its anchor says while it waits."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from unchecked import anything

from scrun.lifecycle.caller.options import Output
from scrun.lifecycle.operations import create
from scrun.lifecycle.process import wire
from scrun.log import Log


def test_a_message_in_pieces_is_waited_for(fork: Callable[..., int], exit_code: Callable[[int], int]) -> None:
    here, there = wire.pair()

    def anchor() -> None:
        os.write(there, b'{"log": "debug", ')
        wire.Reader(there).next(anything)
        os.write(there, b'"message": "x"}\n{"created": true}\n')

    pid = fork(anchor)
    os.close(there)
    reader = Heard(here)
    create._wait(reader, Output(Log()))
    assert reader.empty == 1
    assert exit_code(pid) == 0
    os.close(here)


M = TypeVar("M")


class Heard(wire.Reader):
    """One that tells the other side when it has got half of a message."""

    empty = 0

    def read(self, check: Callable[[object], M]) -> list[M] | None:
        messages = super().read(check)
        if messages == []:
            self.empty += 1
            wire.send(self.descriptor, {})
        return messages
