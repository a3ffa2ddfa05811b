"""Which process is still that process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from scrun.lifecycle.process import processes

Fork = Callable[..., int]


def _wait_for_ever() -> None:
    signal.pause()


def test_a_process_that_runs_is_alive(fork: Fork) -> None:
    pid = fork(_wait_for_ever)
    started = processes.start_time(pid)
    assert started >= processes.start_time(os.getpid()) > 0
    assert processes.is_alive(pid, started)


def test_zombies_and_ended_processes_are_not_alive(fork: Fork) -> None:
    pid = fork(_wait_for_ever)
    started = processes.start_time(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not processes.is_alive(pid, started)
    assert processes.start_time(pid) == 0
    os.waitpid(pid, 0)
    assert not processes.is_alive(pid, started)
    assert processes.start_time(pid) == 0


def test_a_reused_pid_is_not_the_same_process() -> None:
    pid = os.getpid()
    assert not processes.is_alive(pid, processes.start_time(pid) - 1)


@pytest.mark.parametrize(("pid", "started"), [(0, 0), (-1, 5), (0, 5), pytest.param(os.getpid(), 0, id="this one")])
def test_what_was_never_written_down_is_not_alive(pid: int, started: int) -> None:
    assert not processes.is_alive(pid, started)
    assert not processes.signal_if_alive(pid, started, signal.SIGKILL)


@pytest.mark.parametrize("name", [") Z 1 (", "a b) S", "))"])
def test_a_command_name_cannot_imitate_later_fields(name: str, fork: Fork) -> None:
    read_end, write_end = os.pipe()

    def renamed() -> None:
        Path("/proc/self/comm").write_text(name)
        os.write(write_end, b".")
        signal.pause()

    pid = fork(renamed)
    os.read(read_end, 1)
    assert processes.is_alive(pid, processes.start_time(pid))
    os.close(read_end)
    os.close(write_end)


def test_a_signal_reaches_that_very_process(fork: Fork, exit_code: Callable[[int], int]) -> None:
    pid = fork(_wait_for_ever)
    started = processes.start_time(pid)
    assert not processes.signal_if_alive(pid, started + 1, signal.SIGKILL)
    assert processes.is_alive(pid, started)
    assert processes.signal_if_alive(pid, started, signal.SIGKILL)
    assert exit_code(pid) == -signal.SIGKILL
    assert not processes.signal_if_alive(pid, started, signal.SIGKILL)


def test_ignored_and_blocked_signals_are_visible_from_outside() -> None:
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        masks = processes.signal_masks(os.getpid())
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
        signal.signal(signal.SIGUSR1, before)
    assert masks["SigIgn"] >> signal.SIGUSR1 - 1 & 1
    assert not masks["SigIgn"] >> signal.SIGUSR2 - 1 & 1
    assert masks["SigBlk"] == 1 << signal.SIGUSR2 - 1
    assert processes.signal_masks(2**30) == {"SigBlk": 0, "SigIgn": 0}
