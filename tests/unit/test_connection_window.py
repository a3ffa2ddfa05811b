"""The container's terminal is raw while it is the container's, and its size is told."""

from __future__ import annotations

import os
import termios

import pytest
from fake_agent import SteppedLoop

from scrun.lifecycle.connection.window import Window

pytestmark = pytest.mark.usefixtures("with_wait")


def test_size_is_reported_first_and_at_each_change(stepped: SteppedLoop) -> None:
    master, slave = os.openpty()
    termios.tcsetwinsize(master, (30, 90))
    before = termios.tcgetattr(slave)
    sizes: list[tuple[int, int]] = []
    window = Window(stepped, slave, sizes.append)
    assert window.size == (30, 90)
    stepped.until(lambda: sizes == [(30, 90)])
    termios.tcsetwinsize(master, (31, 91))
    stepped.until(lambda: sizes == [(30, 90), (31, 91)])
    assert not termios.tcgetattr(slave)[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
    window.close()
    assert termios.tcgetattr(slave) == before
    stepped.until(lambda: not stepped._ended)
    window.close()
    for descriptor in (master, slave):
        os.close(descriptor)


def test_hang_up_ends_the_child_without_harm(stepped: SteppedLoop) -> None:
    master, slave = os.openpty()
    window = Window(stepped, slave, lambda _size: None)
    stepped.settle()
    os.close(master)
    stepped.until(lambda: not stepped._ended)
    assert window.size == (0, 0)
    window.close()
    os.close(slave)


def test_already_hung_up_terminal_is_no_error(stepped: SteppedLoop) -> None:
    master, slave = os.openpty()
    os.close(master)
    window = Window(stepped, slave, lambda _size: None)
    assert window.size == (0, 0)
    stepped.until(lambda: not stepped._ended)
    window.close()
    os.close(slave)
