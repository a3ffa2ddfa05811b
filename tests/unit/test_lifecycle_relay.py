"""Copying between a person and a container: nothing lost, nothing hoarded, nobody blocked for ever."""

from __future__ import annotations

import os
import random
import select
import termios
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scrun.lifecycle.terminal.relay import Relay, carry, drain
from scrun.lifecycle.terminal.terminal import Terminal


@pytest.fixture
def pipe() -> Iterator[Callable[[], tuple[int, int]]]:
    """Makes pipes; whatever of them is open at the end is closed."""
    made: list[int] = []

    def make() -> tuple[int, int]:
        ends = os.pipe()
        made.extend(ends)
        return ends

    yield make
    for end in made:
        try:
            os.close(end)
        except OSError:
            pass


def test_it_copies_until_the_process_has_ended(pipe: Callable[[], tuple[int, int]], fork: Callable[..., int]) -> None:
    (source, feed), (taken, target) = pipe(), pipe()

    def container() -> int:  # reads what we feed, through the relay, and ends
        os.write(feed, b"hello")
        return os.read(taken, 100) != b"hello"

    pid = fork(container)
    carry([Relay(source, target)], os.pidfd_open(pid))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_large_data_both_ways_arrives_without_blocking(fork: Callable[..., int]) -> None:
    # A person pastes more than a terminal holds into a container that writes it all back.
    data = random.Random(3).randbytes(400_000)
    ours, theirs = os.openpty()
    termios.tcsetattr(theirs, termios.TCSANOW, _raw(theirs))
    os.set_blocking(ours, False)
    (source, feed), (taken, target) = os.pipe(), os.pipe()

    def container() -> int:
        os.close(ours)
        left = len(data)
        while left:
            piece = os.read(theirs, 4096)
            left -= len(piece)
            while piece:
                piece = piece[os.write(theirs, piece) :]
        termios.tcdrain(theirs)
        return os.read(taken, 0) != b""

    def person() -> int:
        got, fed = b"", 0
        os.set_blocking(feed, False)
        while len(got) < len(data):
            readable, writable, _ = select.select([taken], [feed] if fed < len(data) else [], [])
            if writable:
                fed += os.write(feed, data[fed : fed + 30000])
            if readable:
                got += os.read(taken, 65536)
        return got != data

    shell, at_the_terminal = fork(container), fork(person)
    carry([Relay(source, ours), Relay(ours, target)], os.pidfd_open(at_the_terminal))
    assert os.waitstatus_to_exitcode(os.waitpid(at_the_terminal, 0)[1]) == 0
    assert os.waitstatus_to_exitcode(os.waitpid(shell, 0)[1]) == 0
    for descriptor in (ours, theirs, source, feed, taken, target):
        os.close(descriptor)


def test_an_idle_reader_makes_the_writer_wait(pipe: Callable[[], tuple[int, int]]) -> None:
    (source, feed), (_taken, target) = pipe(), pipe()
    for descriptor in (feed, target):
        os.set_blocking(descriptor, False)
    relay = Relay(source, target)
    passed = 0
    while True:
        try:
            passed += os.write(feed, bytes(65536))
        except BlockingIOError:
            break
        while (wanted := relay.wants())[1] == select.POLLIN and select.select([wanted[0]], [], [], 0)[0]:
            relay.go_on()
        if wanted[1] == select.POLLOUT:
            relay.go_on()
    assert relay.wants() == (target, select.POLLOUT)
    assert passed <= 5 * 65536  # two pipes and one piece


def test_a_source_that_ends_is_told_of_once(pipe: Callable[[], tuple[int, int]]) -> None:
    (source, feed), (_taken, target) = pipe(), pipe()
    ended: list[bool] = []
    relay = Relay(source, target, ended=lambda: ended.append(True))
    os.close(feed)
    relay.go_on()
    assert ended == [True]
    assert relay.wants() == (-1, 0)


def test_a_target_that_nobody_reads_ends_it_too(pipe: Callable[[], tuple[int, int]]) -> None:
    (source, feed), (taken, target) = pipe(), pipe()
    ended: list[bool] = []
    relay = Relay(source, target, ended=lambda: ended.append(True))
    os.close(taken)
    os.write(feed, b"unheard")
    relay.go_on()
    assert ended == [True]


def test_what_may_not_be_read_yet_stays(pipe: Callable[[], tuple[int, int]], fork: Callable[..., int]) -> None:
    (source, feed), (_taken, target) = pipe(), pipe()
    os.write(feed, b"for another")
    pid = fork(lambda: 0)
    carry([Relay(source, target, may_read=lambda: False)], os.pidfd_open(pid))
    assert os.read(source, 100) == b"for another"


def test_draining_takes_the_rest_without_waiting(pipe: Callable[[], tuple[int, int]]) -> None:
    (source, feed), (taken, target) = pipe(), pipe()
    os.set_blocking(source, False)
    os.write(feed, b"last words")
    drain(source, target)
    assert os.read(taken, 100) == b"last words"


def test_a_terminal_is_raw_inside_and_restored_afterwards() -> None:
    master, slave = os.openpty()
    before = termios.tcgetattr(slave)
    with Terminal(slave) as terminal:
        inside = termios.tcgetattr(slave)
        terminal.make_raw()
        assert termios.tcgetattr(slave) == inside
        assert inside == _raw(slave)
        assert inside != before
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_a_terminal_gives_its_size_to_another() -> None:
    ours, theirs = os.openpty(), os.openpty()
    termios.tcsetwinsize(ours[1], (33, 111))
    Terminal(ours[1]).give_size_to(theirs[0])
    assert termios.tcgetwinsize(theirs[1]) == (33, 111)
    for descriptor in (*ours, *theirs):
        os.close(descriptor)


def _raw(terminal: int) -> list[Any]:
    """What the standard library's own tty.setraw makes of it."""
    import tty

    before = termios.tcgetattr(terminal)
    tty.setraw(terminal, termios.TCSANOW)
    raw = termios.tcgetattr(terminal)
    termios.tcsetattr(terminal, termios.TCSANOW, before)
    return raw
