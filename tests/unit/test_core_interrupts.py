"""A second signal ends no call that an engine made for the first, and a call that hangs can be interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import scrun
from scrun import argv, interrupts
from scrun.installation import launcher

SOURCE = Path(scrun.__file__).parents[1]
# What the launcher does before anything else.
(BLOCK,) = [line for line in launcher.PROGRAM.splitlines() if line.startswith("blocked = ")]
SENT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)


def _called(command: str, patience: float) -> subprocess.Popen[bytes]:
    """A process that blocks as the launcher does, has settled that command, says so, and ends when its input does."""
    program = f"import _signal, os, sys; sys.path.insert(0, {str(SOURCE)!r})\n{BLOCK}\n"
    program += f"from scrun import interrupts; interrupts.PATIENCE['kill'] = {patience}\n"
    # A shell ignores it in what runs in the background, as these tests may.
    program += "_signal.signal(_signal.SIGINT, _signal.default_int_handler)\n"
    program += f"interrupts.settle({command!r}, blocked)\n"
    program += "try:\n os.write(1, b'!'); os.read(0, 1)\nexcept KeyboardInterrupt:\n os._exit(130)\n"
    process = subprocess.Popen([sys.executable, "-ISc", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.read(1) == b"!"
    return process


def _waits(pid: int) -> bool:
    """Whether the process sleeps, in its read(2)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def test_signals_wait_until_the_call_is_done() -> None:
    with _called("kill", 600) as process:
        for number in SENT:
            process.send_signal(number)
        assert process.stdin
        process.stdin.write(b"!")
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.mark.parametrize("sent", ["before the time is up", "after it"])
def test_a_call_that_takes_too_long_is_interrupted(sent: str) -> None:
    with _called("kill", 600 if sent == "before the time is up" else 0.001) as process:
        while not _waits(process.pid):
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGALRM)  # time is up
        assert process.wait(60) == 130


def test_that_the_time_is_up_is_told_again() -> None:
    # Python may miss the first signal until its read(2) ends: here it is ignored.
    program = f"import _signal, os, sys; sys.path.insert(0, {str(SOURCE)!r})\n{BLOCK}\n"
    program += "from scrun import interrupts; interrupts.PATIENCE['kill'] = interrupts._AGAIN = 0.01\n"
    program += "told = []\ninterrupts.let_through = lambda: told.append(1) or (len(told) > 1 and os._exit(130))\n"
    program += "interrupts.settle('kill', blocked)\nos.read(0, 1)\n"
    with subprocess.Popen([sys.executable, "-ISc", program], stdin=subprocess.PIPE) as process:
        assert process.wait(60) == 130


@pytest.mark.parametrize("command", ["run", "create", ""])
def test_other_calls_are_interrupted_at_once(command: str) -> None:
    with _called(command, 600) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == -signal.SIGTERM


def test_what_the_caller_has_blocked_stays_blocked() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        with _called("run", 600) as process:
            masks = Path(f"/proc/{process.pid}/status").read_text().partition("SigBlk:")[2].split()[0]
            assert int(masks, 16) == 1 << signal.SIGUSR2 - 1
            assert process.stdin
            process.stdin.close()
            assert process.wait(60) == 0
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_without_the_launcher_nothing_is_touched() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getsignal(signal.SIGALRM)
    interrupts.settle("kill", None)
    interrupts.let_through()
    assert (signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getsignal(signal.SIGALRM)) == before


def test_calls_with_a_patience_are_parsed_without_click() -> None:
    assert interrupts.PATIENCE.keys() < {*argv.HOT}


def test_launcher_blocks_before_importing_our_modules() -> None:
    text = launcher.program("/usr/bin/scrun", sys.executable, ["/home"])
    assert text.index(BLOCK) < text.index("scrun.__main__")
    assert text.endswith("main(blocked)\n")
    assert "sys.path += ['/home', " in text


@pytest.mark.parametrize("words", [["create", "box"], ["list"], ["--nosuch"]])
def test_an_interrupt_before_all_ends_it_silently(words: list[str]) -> None:
    program = f"""import os, signal, sys
sys.path.insert(0, {str(SOURCE)!r})
import _signal
{BLOCK}
os.kill(os.getpid(), signal.SIGINT)
sys.argv = ["scrun", *{words!r}]
from scrun.__main__ import main
main(blocked)"""
    done = subprocess.run([sys.executable, "-IS", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
