"""The container's terminal arrives at whoever listens on the console socket, with its size and its name."""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from open_files import descriptors

from scrun.errors import ScrunError
from scrun.lifecycle.process.loop import Loop
from scrun.lifecycle.terminal import console


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
def test_the_console_gets_the_master_of_the_terminal(
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
def test_a_failed_console_socket_is_named_and_closed(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "s"
    if kind == "nobody listens":
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(path))
    elif kind == "a file":
        path.write_text("")
    elif kind == "no directory":
        path = tmp_path / "no" / "s"
    before = descriptors()
    with pytest.raises(ScrunError, match=f"can't send the terminal to the console socket {path}: "):
        console.open_terminal(str(path), None)
    assert os.listdir("/proc/self/fd") == before


class Clock(Loop):
    """A loop whose time the test makes: what is due is called in that order."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.now = 0.0

    def after(self, seconds: float, due: Callable[[], None]) -> int:
        self.due.append((self.now + seconds, due))
        return len(self.due)

    def until(self, when: float) -> None:
        """Go on until then; what was missed is called at once."""
        while ready := [entry for entry in self.due if entry[0] <= when]:
            first = min(ready, key=lambda entry: entry[0])
            self.due.remove(first)
            self.now = max(self.now, first[0])
            first[1]()
        self.now = when


@pytest.fixture
def window() -> Iterator[int]:
    """A terminal of 24 by 80."""
    master, slave = os.openpty()
    termios.tcsetwinsize(master, (24, 80))
    yield slave
    os.close(master)
    os.close(slave)


def test_altering_a_windows_size_tells_it_twice(window: int) -> None:
    clock = Clock()
    console.Nudge(clock, lambda: window)
    seen = []
    for when in (0.2, 0.31, 0.46, 0.9, 1.01, 1.2, 9):
        clock.until(when)
        seen.append(termios.tcgetwinsize(window)[1])
    assert seen == [80, 81, 80, 80, 81, 80, 80]
    assert clock.due == []


def test_a_late_loop_leaves_the_windows_size(window: int) -> None:
    clock = Clock()
    console.Nudge(clock, lambda: window)
    clock.now = 5.0  # all that was due by now is called one after the other
    clock.until(5.0)
    assert termios.tcgetwinsize(window)[1] in (80, 81)
    clock.until(60)
    assert termios.tcgetwinsize(window) == (24, 80)


@pytest.mark.parametrize("size", [(24, 81), (25, 81), (50, 132), (24, 80)])
def test_a_window_that_changes_meanwhile_keeps_its_size(size: tuple[int, int], window: int) -> None:
    clock = Clock()
    console.Nudge(clock, lambda: window)
    clock.until(0.35)
    fcntl.ioctl(window, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    clock.until(60)
    assert termios.tcgetwinsize(window) == size


def test_a_terminal_that_is_gone_is_left_alone() -> None:
    clock = Clock()
    console.Nudge(clock, lambda: -1)
    clock.until(60)
    assert clock.due == []


def test_a_console_socket_accepting_nobody_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "PATIENCE", 1)
    path = str(tmp_path / "console")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as first:
        server.bind(path)
        server.listen(0)
        first.connect(path)  # all that it takes
        with pytest.raises(ScrunError, match="can't send the terminal to the console socket"):
            console.open_terminal(path, None)
