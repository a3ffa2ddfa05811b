"""Programs that run beside this process."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from scrun.program import QUIET, Program


def started(*argv: str, **descriptors: int) -> Program:
    return Program(argv, **{"stdin": QUIET, "stdout": QUIET, "stderr": QUIET} | descriptors, environment={**os.environ})


def test_it_has_the_descriptors_it_was_given() -> None:
    readings, writings = zip(*(os.pipe2(os.O_CLOEXEC) for _ in range(3)), strict=True)
    os.write(writings[0], b"typed")
    os.close(writings[0])
    script = "cat; echo err >&2; ls /proc/self/fd | wc -l"
    program = started("sh", "-c", script, stdin=readings[0], stdout=writings[1], stderr=writings[2])
    for descriptor in (readings[0], *writings[1:]):
        os.close(descriptor)
    assert program.wait() == 0
    # ls itself has the directory open; nothing of ours is among them.
    assert [os.read(descriptor, 100) for descriptor in readings[1:]] == [b"typed4\n", b"err\n"]
    for descriptor in readings[1:]:
        os.close(descriptor)


@pytest.mark.parametrize("script", ["exit 7", "kill -TERM $$", "kill -PIPE $$", "cat; exec cat >/dev/full"])
def test_its_status_is_what_subprocess_says(script: str) -> None:
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    expected = subprocess.run(["sh", "-c", script], check=False, **quiet).returncode  # type: ignore[call-overload]
    program = started("sh", "-c", script)
    assert program.wait() == expected
    assert program.poll() == program.returncode == expected


@pytest.mark.parametrize(("end", "number"), [(Program.terminate, signal.SIGTERM), (Program.kill, signal.SIGKILL)])
def test_it_can_be_ended(end: object, number: int) -> None:
    program = started("sleep", "1000")
    assert program.poll() is None
    end(program)  # type: ignore[operator]
    assert program.wait() == -number
    end(program)  # type: ignore[operator]  # nobody else has that pid's signal


def test_what_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError, match="/no/such"):
        started("/no/such")
