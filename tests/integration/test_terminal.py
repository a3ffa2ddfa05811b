"""A container's terminal: its master over --console-socket (runc's terminals.md), its size, its signals."""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import struct
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import MakeContainer
from .oci import Container
from .rootfs import Config
from .sessions import LINGER
from .waiting import PATIENCE, read_until

WAIT = "trap 'stty size; echo resized' WINCH; echo ready; while :; do sleep 0.1; done"

Attach = Callable[[Container], int]


@pytest.fixture
def attach(directory: Path) -> Iterator[Attach]:
    """Creates a container whose terminal is sent here; its master."""
    masters: list[int] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(directory / "console"))
        (directory / "console").chmod(0o777)
        listening.listen()
        listening.settimeout(PATIENCE)

        def create(one: Container) -> int:
            one.created("--console-socket", str(directory / "console"))
            connection, _ = listening.accept()
            with connection:
                name, descriptors, _, _ = socket.recv_fds(connection, 4096, 8)
            masters.extend(descriptors)
            assert name  # its content is for debugging only (terminals.md)
            assert len(descriptors) == 1
            return masters[-1]

        yield create
    for master in masters:
        os.close(master)


def resize(master: int, rows: int, columns: int) -> None:
    """Set the window's size."""
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def test_all_three_descriptors_are_the_containers_terminal(container: MakeContainer, attach: Attach) -> None:
    one = container("sh", "-c", f"test -t 0 && test -t 1 && test -t 2 && tty && echo yes; {LINGER}", terminal=True)
    master = attach(one)
    one.call("start").ok()
    said = read_until(master, b"yes\r\n")
    assert b"/dev/" in said
    os.write(master, b"\n")
    assert one.ended() == 0


def test_what_is_typed_arrives_and_is_echoed(container: MakeContainer, attach: Attach) -> None:
    one = container("sh", "-c", f"echo ready; read line; echo got $line; {LINGER}; exit 7", terminal=True)
    master = attach(one)
    one.call("start").ok()
    read_until(master, b"ready\r\n")
    os.write(master, b"hello\n")
    assert b"hello\r\n" in read_until(master, b"got hello\r\n")
    os.write(master, b"\n")
    assert one.ended() == 7


def test_the_windows_size_is_there_from_the_start(container: MakeContainer, attach: Attach) -> None:
    one = container("sh", "-c", "stty size; read x", terminal=True)
    master = attach(one)
    resize(master, 33, 111)
    one.call("start").ok()
    assert read_until(master, b"\r\n") == b"33 111\r\n"


def test_terminal_starts_with_the_size_in_the_config(container: MakeContainer, attach: Attach) -> None:
    def size(config: Config) -> None:
        config["process"]["consoleSize"] = {"height": 44, "width": 122}

    one = container("sh", "-c", "stty size; read x", terminal=True, change=size)
    master = attach(one)
    one.call("start").ok()
    assert read_until(master, b"\r\n") == b"44 122\r\n"


def test_the_container_follows_the_windows_size(container: MakeContainer, attach: Attach) -> None:
    one = container("sh", "-c", WAIT, terminal=True)
    master = attach(one)
    one.call("start").ok()
    read_until(master, b"ready\r\n")
    for rows, columns in ((25, 91), (50, 132)):
        resize(master, rows, columns)
        assert f"{rows} {columns}\r\n".encode() in read_until(master, b"resized\r\n")


def test_ctrl_c_interrupts_the_container(container: MakeContainer, attach: Attach) -> None:
    one = container("sh", "-c", "trap 'exit 42' INT; echo ready; while :; do sleep 0.1; done", terminal=True)
    master = attach(one)
    one.call("start").ok()
    read_until(master, b"ready\r\n")
    os.write(master, b"\x03")
    assert one.ended() == 42


def test_ctrl_d_ends_the_input(container: MakeContainer, attach: Attach) -> None:
    one = container("sh", "-c", f"echo ready; cat; echo the end; {LINGER}", terminal=True)
    master = attach(one)
    one.call("start").ok()
    read_until(master, b"ready\r\n")
    os.write(master, b"\x04")
    read_until(master, b"the end\r\n")
    os.write(master, b"\n")
    assert one.ended() == 0


def test_ctrl_backslash_quits_the_container(container: MakeContainer, attach: Attach) -> None:
    one = container("sh", "-c", "trap 'exit 43' QUIT; echo ready; while :; do sleep 0.1; done", terminal=True)
    master = attach(one)
    one.call("start").ok()
    read_until(master, b"ready\r\n")
    os.write(master, b"\x1c")
    assert one.ended() == 43


def test_a_raw_terminal_passes_every_byte(container: MakeContainer, attach: Attach) -> None:
    one = container("sh", "-c", f"stty raw -echo; echo ready; head -c 256 | sha256sum; {LINGER}", terminal=True)
    master = attach(one)
    one.call("start").ok()
    read_until(master, b"ready\n")
    every = bytes(range(256))
    os.write(master, every)
    read_until(master, hashlib.sha256(every).hexdigest().encode())
    os.write(master, b"\n")
    assert one.ended() == 0


@pytest.mark.slurm_only("hangs up, which the shell may handle otherwise")
def test_a_terminal_that_is_closed_ends_the_container(container: MakeContainer, attach: Attach) -> None:
    one = container("sh", "-c", "echo ready; cat", terminal=True)
    master = attach(one)
    one.call("start").ok()
    read_until(master, b"ready\r\n")
    replacement = os.open(os.devnull, os.O_RDWR)
    os.dup2(replacement, master)
    os.close(replacement)
    one.ended()
    one.wait_for("stopped")


def test_much_output_is_complete(container: MakeContainer, attach: Attach) -> None:
    # Less than a terminal holds: crun's own relay on the node (1.28) loses some where its reader is slow.
    one = container("sh", "-c", f"seq 700; echo the end; {LINGER}", terminal=True)
    master = attach(one)
    one.call("start").ok()
    said = read_until(master, b"the end\r\n")
    assert said.split() == [*(b"%d" % number for number in range(1, 701)), b"the", b"end"]
    os.write(master, b"\n")
    assert one.ended() == 0
