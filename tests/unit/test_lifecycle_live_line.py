"""The line that tells a person at a terminal what is waited for."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import struct
import termios
import time
from collections.abc import Iterator

import pytest

from scrun.lifecycle.terminal.live_line import LiveLine, waited
from scrun.log import LEVELS, Levels, Log


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """A pseudo terminal of 60 columns: master and slave. Output is as it was written."""
    master, slave = os.openpty()
    mode = termios.tcgetattr(slave)
    mode[1] &= ~termios.OPOST
    termios.tcsetattr(slave, termios.TCSANOW, mode)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    monkeypatch.setenv("TERM", "xterm")
    yield master, slave
    signal.setitimer(signal.ITIMER_REAL, 0)
    os.close(master)
    os.close(slave)


def drawn(master: int) -> str:
    """What was written."""
    return os.read(master, 4096).decode()


def test_it_replaces_itself_and_goes_away(terminal: tuple[int, int]) -> None:
    master, slave = terminal
    line = LiveLine(slave)
    line.show("one")
    assert drawn(master) == "\rscrun: one\x1b[K"
    line.show("two")
    assert drawn(master) == "\rscrun: two\x1b[K"
    line.clear()
    assert drawn(master) == "\r\x1b[K"


def test_clearing_it_twice_writes_nothing_more(terminal: tuple[int, int]) -> None:
    master, slave = terminal
    line = LiveLine(slave)
    line.clear()
    line.show("one")
    assert drawn(master) == "\rscrun: one\x1b[K"
    line.clear()
    line.clear()
    os.write(slave, b"end")
    text = ""
    while not text.endswith("end"):
        text += drawn(master)
    assert text == "\r\x1b[Kend"


def test_it_counts_the_time_while_nobody_does_anything(terminal: tuple[int, int]) -> None:
    master, slave = terminal
    line = LiveLine(slave)
    begun = time.time() - 83
    line.show("one", begun)
    shown = [
        re.findall(r"\(1:(\d\d)\)", drawn(master)) for _ in range(2)
    ]  # a second lies between: the read waits for it
    line.clear()
    (first,), (second,) = shown
    assert 23 <= int(first) < int(second) <= time.time() - begun - 60


def test_the_time_is_written_each_second(terminal: tuple[int, int]) -> None:
    master, slave = terminal
    line = LiveLine(slave)
    line.show("one")
    assert drawn(master) == "\rscrun: one\x1b[K"
    assert signal.getitimer(signal.ITIMER_REAL)[1] == 1.0
    signal.raise_signal(signal.SIGALRM)
    os.write(slave, b"nothing more")
    assert drawn(master) == "nothing more"
    line.clear()


def test_it_never_takes_more_than_one_line(terminal: tuple[int, int]) -> None:
    master, slave = terminal
    line = LiveLine(slave)
    line.show("x" * 200, time.time())
    text = drawn(master).removeprefix("\r").removesuffix("\x1b[K")
    assert len(text) == 59
    assert re.search(r"\(0:\d\d\)$", text)
    line.clear()


def test_it_lets_nobody_write_escapes_to_the_terminal(terminal: tuple[int, int]) -> None:
    master, slave = terminal
    line = LiveLine(slave)
    line.show("a\x1b[2Jb\nc\rd")
    assert drawn(master) == "\rscrun: a?[2Jb?c?d\x1b[K"
    line.clear()


def test_the_timer_and_its_handler_are_given_back(terminal: tuple[int, int]) -> None:
    before = signal.getsignal(signal.SIGALRM)
    line = LiveLine(terminal[1])
    line.show("one")
    line.clear()
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_terminal_that_has_gone_is_no_error() -> None:
    master, slave = os.openpty()
    os.close(master)
    line = LiveLine(slave)
    line.show("one")
    line.clear()
    os.close(slave)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "(0:00)"), (59, "(0:59)"), (83, "(1:23)"), (3599, "(59:59)"), (36061, "(10:01:01)")]
)
def test_how_long_it_is_since(seconds: int, said: str) -> None:
    since = time.mktime((2026, 3, 4, 5, 6, 7, 0, 0, -1))
    assert waited(since, since + seconds) == f"since 05:06:07 {said}"


def test_a_day_later_the_day_is_told_too() -> None:
    since = time.mktime((2026, 3, 4, 23, 59, 59, 0, 0, -1))
    assert waited(since, since + 2) == "since 2026-03-04 23:59:59 (0:02)"


@pytest.mark.parametrize(
    ("term", "level", "there"),
    [("xterm", "info", True), ("xterm", "error", False), ("dumb", "info", False), ("", "info", False)],
)
def test_only_a_person_who_wants_it_gets_one(
    terminal: tuple[int, int], monkeypatch: pytest.MonkeyPatch, term: str, level: str, there: bool
) -> None:
    monkeypatch.setenv("TERM", term)
    kept = os.dup(2)
    os.dup2(terminal[1], 2)
    try:
        found = LiveLine.for_a_person(Log(levels=Levels(stderr=LEVELS.index(level))))
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    assert (found is not None) is there


def test_no_live_line_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    kept, read_end = os.dup(2), os.pipe()
    os.dup2(read_end[1], 2)
    try:
        assert LiveLine.for_a_person(Log(levels=Levels(stderr=LEVELS.index("debug")))) is None
    finally:
        os.dup2(kept, 2)
        for descriptor in (kept, *read_end):
            os.close(descriptor)
