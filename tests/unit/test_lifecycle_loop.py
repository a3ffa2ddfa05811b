"""The event loop: every descriptor, child and timer gets its call, once, and no other's."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable

import pytest

from scrun.lifecycle.process.loop import Loop, exit_status

Fork = Callable[..., int]


def test_a_timer_is_called_once_in_time(loop: Loop) -> None:
    seen: list[str] = []
    loop.after(3600, lambda: seen.append("in an hour"))

    def now() -> None:
        seen.append("now")
        loop.after(0, loop.stop)

    loop.after(0, now)
    loop.run()
    assert seen == ["now"]


def test_a_forgotten_timer_is_not_called(loop: Loop) -> None:
    seen: list[str] = []
    forgotten = loop.after(0, lambda: seen.append("forgotten"))
    loop.forget(forgotten)
    loop.forget(forgotten)
    loop.forget(12345)
    loop.after(0.001, loop.stop)
    loop.run()
    assert seen == []


def test_a_timer_may_forget_another_due_one(loop: Loop) -> None:
    seen: list[str] = []
    loop.after(0, lambda: loop.forget(second))
    second = loop.after(0, lambda: seen.append("second"))
    loop.after(0.001, loop.stop)
    loop.run()
    assert seen == []


def test_a_descriptor_may_be_watched_for_room(loop: Loop) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    os.write(write_end, bytes(65536))
    seen: list[str] = []

    def writable() -> None:
        seen.append("writable")
        assert loop.let_be(write_end)
        assert not loop.let_be(write_end)
        loop.after(0.01, loop.stop)

    loop.watch(write_end, lambda: seen.append("not this"))
    loop.watch(write_end, writable, events=select.POLLOUT)
    loop.after(0.01, lambda: seen.append("full"))

    def make_room() -> None:
        os.read(read_end, 65536)

    loop.after(0.02, make_room)
    loop.run()
    assert seen == ["full", "writable"]
    for descriptor in (read_end, write_end):
        os.close(descriptor)


def test_a_descriptor_is_called_while_readable(loop: Loop) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"abc")
    os.close(write_end)
    got: list[bytes] = []

    def ready() -> None:
        data = os.read(read_end, 1)
        got.append(data)
        if not data:
            loop.unwatch(read_end)
            loop.stop()

    loop.watch(read_end, ready)
    loop.run()
    assert got == [b"a", b"b", b"c", b""]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(read_end)


def test_unwatching_a_descriptor_twice_is_harmless(loop: Loop) -> None:
    read_end, write_end = os.pipe()
    loop.watch(read_end, loop.stop)
    loop.unwatch(read_end)
    os.dup2(write_end, read_end)  # the number is somebody else's now
    loop.unwatch(read_end)
    os.fstat(read_end)
    os.close(read_end)
    os.close(write_end)


def test_a_reused_descriptor_gets_no_old_call(loop: Loop) -> None:
    pipes = [os.pipe(), os.pipe()]
    for _, write_end in pipes:
        os.write(write_end, b".")
    wrong: list[int] = []
    opened: list[int] = []

    def replace(other: int) -> None:
        loop.unwatch(other)
        fresh, write_end = os.pipe()
        opened.extend((fresh, write_end))
        assert fresh == other  # the lowest free number
        loop.watch(fresh, lambda: wrong.append(fresh))
        loop.after(0.001, loop.stop)

    loop.watch(pipes[0][0], lambda: replace(pipes[1][0]))
    loop.watch(pipes[1][0], lambda: replace(pipes[0][0]))
    loop.run()
    assert wrong == []
    for descriptor in {*opened, *(end for ends in pipes for end in ends)}:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("wait_status", "code"), [(0, 0), (7 << 8, 7), (255 << 8, 255), (9, 137), (15, 143), (15 | 128, 143)]
)
def test_an_exit_status_is_a_shells(wait_status: int, code: int) -> None:
    assert exit_status(wait_status) == code


def test_many_children_are_each_reaped_with_their_status(loop: Loop, fork: Fork) -> None:
    got: dict[int, int] = {}
    expected: dict[int, int] = {}

    def ended(pid: int, status: int) -> None:
        got[pid] = status
        if len(got) == len(expected):
            loop.stop()

    for number in range(100):
        pid = fork(lambda number=number: number)
        expected[pid] = number
        loop.child(pid, lambda status, pid=pid: ended(pid, status))  # type: ignore[misc]
    loop.run()
    assert got == expected


def test_a_signalled_child_has_128_and_the_number(loop: Loop, fork: Fork) -> None:
    got: list[int] = []

    def ended(status: int) -> None:
        got.append(status)
        loop.stop()

    pid = fork(signal.pause)
    loop.child(pid, ended)
    os.kill(pid, signal.SIGKILL)
    loop.run()
    assert got == [137]


def test_a_child_started_at_anothers_end_is_reaped(loop: Loop, fork: Fork) -> None:
    got: list[int] = []

    def first_ended(status: int) -> None:
        got.append(status)
        loop.child(fork(lambda: 2), second_ended)

    def second_ended(status: int) -> None:
        got.append(status)
        loop.stop()

    loop.child(fork(lambda: 1), first_ended)
    loop.run()
    assert got == [1, 2]


def test_a_child_reaped_by_another_has_ended(loop: Loop, fork: Fork, exit_code: Callable[[int], int]) -> None:
    got: list[int] = []

    def ended(status: int) -> None:
        got.append(status)
        loop.stop()

    pid = fork(lambda: 0)
    exit_code(pid)
    loop.child(pid, ended)
    loop.run()
    assert got == [255]


def test_a_signal_is_told_until_it_is_ignored(loop: Loop) -> None:
    seen: list[str] = []
    handler = signal.getsignal(signal.SIGUSR1)
    try:
        loop.on_signal(signal.SIGUSR1, lambda: seen.append("came"))
        os.kill(os.getpid(), signal.SIGUSR1)
        loop.after(0.001, loop.stop)
        loop.run()
        loop.on_signal(signal.SIGUSR1, None)
        os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, handler)
    assert seen == ["came"]
