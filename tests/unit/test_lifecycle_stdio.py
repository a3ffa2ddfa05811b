"""The anchor's own words on the container's standard error: whoever doesn't read them keeps nobody waiting."""

from __future__ import annotations

import fcntl
import os
import pty
import socket
import termios
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scrun.lifecycle.anchor.stdio import Stdio
from scrun.lifecycle.container.directory import Container

WORDS = [f"{number} {'x' * 700}" for number in range(200)]  # more than a pipe holds
SAID = "".join(f"scrun: {words}\n" for words in WORDS[:80]).encode()  # less than two hold


@pytest.fixture
def stdio(container: Container) -> Iterator[Callable[[int], Stdio]]:
    """Makes one whose standard error is that descriptor."""
    made: list[Stdio] = []

    def make(descriptor: int) -> Stdio:
        one = Stdio(container)
        one.descriptors = [-1, -1, descriptor]
        made.append(one)
        return one

    yield make
    for one in made:
        one.replace([-1, -1, -1])


def fill(descriptor: int) -> int:
    """Leave no room in a pipe or socket; how much was written."""
    os.set_blocking(descriptor, False)
    length = 0
    try:
        while True:
            length += os.write(descriptor, b".")
    except BlockingIOError:
        os.set_blocking(descriptor, True)
        return length


def read_all(descriptor: int) -> bytes:
    read = b""
    while data := os.read(descriptor, 65536):
        read += data
    os.close(descriptor)
    return read


@pytest.mark.parametrize(
    "make", [os.pipe, lambda: [one.detach() for one in socket.socketpair()]], ids=["pipe", "socket"]
)
@pytest.mark.parametrize("full", [False, True])
def test_an_idle_reader_gets_everything_later_in_order(
    make: Callable[[], tuple[int, int]], full: bool, stdio: Callable[[int], Stdio]
) -> None:
    reader, writer = make()
    before = fill(writer) if full else 0
    one = stdio(writer)
    for words in WORDS[:80]:
        one.say(words)
    assert not fcntl.fcntl(writer, fcntl.F_GETFL) & os.O_NONBLOCK, "that would be the caller's as well"
    one.replace([-1, -1, -1])
    assert read_all(reader)[before:] == SAID


def test_output_is_dropped_by_whole_lines(stdio: Callable[[int], Stdio]) -> None:
    reader, writer = os.pipe()
    one = stdio(writer)
    for words in WORDS * 2:
        one.say(words)
    one.replace([-1, -1, -1])
    lines = read_all(reader).decode().splitlines()
    # In their order; which of them depends on when the relay has taken some.
    said = iter([f"scrun: {words}" for words in WORDS * 2])
    assert all(line in said for line in lines)
    assert len(lines) < len(WORDS * 2)


def test_nobody_who_reads_is_no_error(stdio: Callable[[int], Stdio]) -> None:
    for full in (False, True):
        reader, writer = os.pipe()
        if full:
            fill(writer)
        one = stdio(writer)
        if full:
            one.say("this waits")
        os.close(reader)
        one.say("nobody reads this")
        one.replace([-1, -1, -1])


def test_a_file_is_added_to(stdio: Callable[[int], Stdio], tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file:
        file.write(b"before\n")
        file.flush()
        stdio(os.dup(file.fileno())).say("after")
    assert (tmp_path / "file").read_bytes() == b"before\nscrun: after\n"


def test_a_terminal_that_is_stopped_keeps_nobody_waiting(stdio: Callable[[int], Stdio]) -> None:
    master, slave = pty.openpty()
    one = stdio(slave)
    one.say("first")
    assert os.read(master, 100) == b"scrun: first\r\n"
    termios.tcflow(slave, termios.TCOOFF)  # Ctrl-S
    one.say("second")
    one.say("third")
    termios.tcflow(slave, termios.TCOON)
    said = b""
    while said.count(b"\n") < 2:
        said += os.read(master, 100)
    assert said == b"scrun: second\r\nscrun: third\r\n"
    os.close(master)


def test_a_terminals_master_is_no_other_terminal(stdio: Callable[[int], Stdio]) -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    stdio(master).say("typed")
    assert os.read(slave, 100) == b"scrun: typed\n"
    os.close(slave)


def test_its_log_is_opened_once(stdio: Callable[[int], Stdio], container: Container) -> None:
    made = stdio(1)
    made.log("debug", "line 0")
    opened = made._log
    for number in (1, 2):
        made.log("debug", f"line {number}")
    assert made._log == opened
    lines = Path(container.path, "anchor.log").read_text().splitlines()
    assert [line.rpartition("msg=")[2] for line in lines] == [f'"line {number}"' for number in range(3)]
    assert os.readlink(f"/proc/self/fd/{made._log}") == f"{container.path}/anchor.log"
