"""delete, of a container whose processes are in no state to be asked."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from unchecked import anything

from scrun.lifecycle.container.directory import SOCKET, Container
from scrun.lifecycle.operations import delete
from scrun.lifecycle.process import wire


def test_one_that_is_just_being_made_is_asked_to_go_as_soon_as_it_can_be(
    tmp_path: Path, fork: Callable[..., int], exit_code: Callable[[int], int]
) -> None:
    here, there = wire.pair()

    def create() -> None:
        """Hold the directory; have an anchor in it when told so, who goes when it is asked to."""
        os.close(here)
        container = Container.claim(str(tmp_path), "box")
        wire.send(there, {"claimed": True})
        wire.Reader(there).next(anything)
        server = socket.socket(socket.AF_UNIX)
        server.bind(container.child(SOCKET))
        server.listen()
        wire.send(there, {"listens": True})
        connection, _address = server.accept()
        assert wire.Reader(connection.fileno()).next(anything) == {"do": "delete"}
        wire.send(connection.fileno(), {"ended": True})

    pid = fork(create)
    os.close(there)
    reader = wire.Reader(here)
    assert reader.next(anything) == {"claimed": True}
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        wire.send(here, {"go": "on"})
        assert reader.next(anything) == {"listens": True}

    delete.delete_container(Container.open(str(tmp_path), "box", load=False), print, pause=pause)
    os.close(here)
    assert (exit_code(pid), len(pauses), list(tmp_path.iterdir())) == (0, 1, [])
