"""A question to Slurm in a child: its answer, its error, its last words, and an end to the wait."""

from __future__ import annotations

import os
import signal
import time

import pytest

from scrun.errors import JobRefused, ScrunError, SlurmError
from scrun.lifecycle.worker import ask_slurm


def test_the_answer_comes_back() -> None:
    assert ask_slurm.ask(lambda: {"a": [1, None, "ü"]}, 10) == {"a": [1, None, "ü"]}


def test_an_error_comes_back_as_what_it_is() -> None:
    def question() -> None:
        raise JobRefused("no such job")

    with pytest.raises(JobRefused, match="no such job"):
        ask_slurm.ask(question, 10)


def test_a_fault_of_ours_is_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ScrunError, match="internal error: ZeroDivisionError"):
        ask_slurm.ask(lambda: 1 // 0, 10)
    assert capfd.readouterr() == ("", "")


def test_a_librarys_last_words_become_the_error(capfd: pytest.CaptureFixture[str]) -> None:
    def question() -> None:
        os.write(2, b"scrun: fatal: Could not establish a configuration source\n")
        os._exit(1)

    with pytest.raises(SlurmError, match=r"^Slurm: Could not establish a configuration source$"):
        ask_slurm.ask(question, 10)
    assert capfd.readouterr() == ("", "")


def test_one_that_says_nothing_is_an_error_too() -> None:
    with pytest.raises(SlurmError, match="no answer from Slurm"):
        ask_slurm.ask(lambda: os._exit(0), 10)


def test_patience_ends() -> None:
    with pytest.raises(SlurmError, match="slurmctld doesn't answer within 0 s"):
        ask_slurm.ask(lambda: time.sleep(1000), 0.05)
    with pytest.raises(ChildProcessError):  # and nothing of it is left
        os.waitpid(-1, os.WNOHANG)


def test_a_child_that_is_killed_is_an_error() -> None:
    with pytest.raises(SlurmError, match="no answer from Slurm"):
        ask_slurm.ask(lambda: os.kill(os.getpid(), signal.SIGKILL), 10)
