"""The container's terminal arrives at whoever listens on the console socket, with its size and its name."""

from __future__ import annotations

import array
import os
import socket
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from scrun.errors import ScrunError
from scrun.lifecycle import console


@pytest.fixture(params=["s", "d" * 120 + "/console.sock"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A caller that listens, on a short path and on one longer than unix(7) allows."""
    path = tmp_path / request.param
    path.parent.mkdir(exist_ok=True)
    directory = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{directory}/{path.name}")
        server.listen()
        yield server, str(path)
    os.close(directory)


def _receive(server: socket.socket) -> tuple[int, bytes]:
    connection, _ = server.accept()
    with connection:
        name, control, *_ = connection.recvmsg(1000, socket.CMSG_SPACE(16))
        assert connection.recv(10) == b""
    ((level, kind, data),) = control
    assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
    (master,) = array.array("i", data)
    return master, name


@pytest.mark.parametrize(("size", "window"), [((24, 80), (24, 80)), ([50, 132], (50, 132)), (None, (0, 0))])
def test_the_master_is_sent_and_the_slave_is_the_containers(
    size: Sequence[int] | None, window: tuple[int, int], listening: tuple[socket.socket, str]
) -> None:
    server, path = listening
    slave = console.open_terminal(path, size)
    master, name = _receive(server)
    assert os.ttyname(slave).encode() == name
    assert termios.tcgetwinsize(master) == window
    os.write(master, b"typed\n")
    assert os.read(slave, 100) == b"typed\n"
    for descriptor in (slave, master):
        os.close(descriptor)


@pytest.mark.parametrize("kind", ["missing", "no directory", "nobody listens", "a file"])
def test_when_nobody_listens_the_error_names_the_socket_and_nothing_stays_open(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "s"
    if kind == "nobody listens":
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(path))
    elif kind == "a file":
        path.write_text("")
    elif kind == "no directory":
        path = tmp_path / "no" / "s"
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ScrunError, match=f"can't send the terminal to the console socket {path}: "):
        console.open_terminal(str(path), None)
    assert os.listdir("/proc/self/fd") == before
