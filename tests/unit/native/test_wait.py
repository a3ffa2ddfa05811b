"""scrun-wait, with the sanitizers: it does the plain things itself, and starts Python anew for all else."""

from __future__ import annotations

import os
import random
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from builds import built

from scrun import wait

SOURCES = Path(wait.PROGRAM).parent
WOKEN = 77  # the exit status of what is in Python's place
PENDING = "exec grep -E 'SigBlk|SigPnd|ShdPnd' /proc/self/status"


class Sleeper:
    """scrun-wait, with a shell that says what it was called with in Python's place."""

    def __init__(self, program: Path, *words: str, fds: tuple[int, ...] = (), wake: str = f"exit {WOKEN}") -> None:
        line = ["a title", "a name", *words, "/bin/bash", "-c", wake, "sh", "an argument"]
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self.process = subprocess.Popen(line, executable=program, pass_fds=fds, stdout=subprocess.PIPE, text=True)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def end(self) -> tuple[int, str]:
        """Wait for its end: the status, and what was said."""
        said, _ = self.process.communicate(timeout=30)
        return self.process.returncode, said


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def standin(program: Path, theirs: socket.socket, **more: str) -> Sleeper:
    sleeper = Sleeper(program, "standin", str(theirs.fileno()), fds=(theirs.fileno(),), **more)
    theirs.close()
    return sleeper


@pytest.mark.parametrize("status", [0, 7, 137, 255])
def test_a_stand_in_exits_with_the_containers_status(
    status: int, wait_program: Path, ends: tuple[socket.socket, socket.socket]
) -> None:
    sleeper = standin(wait_program, ends[1])
    ends[0].sendall(b'{"do": "exit", "status": %d}\n' % status)
    assert sleeper.end() == (status, "")


def unusual() -> list[bytes]:
    """Messages that aren't plain."""
    plain, draw = b'{"do": "exit", "status": 7}\n', random.Random(15)
    made = [b"", b"\n", plain[:-1], plain[:-2], plain.replace(b" ", b""), b'{"do": "exit", "status": 256}\n']
    made += [b'{"do": "exit", "status": 99999999999999999999999}\n', b'{"do": "exit", "status": -1}\n', plain[:20]]
    made += [plain.replace(b"}", b","), plain.replace(b"}\n", b"} "), plain.replace(b"7", b"7.5")]
    made += [b'{"do": "show podman", "rootfs": true}\n', b"x" * 65, b'{"do": "exit", "status": ' + b"1" * 100]
    for _ in range(20):
        at = draw.randrange(len(plain) - 5)
        made.append(plain[:at] + bytes([draw.choice(b'{}"\n\0 9a')]) + plain[at:])
    return [one for one in made if one != plain and not one.startswith((b'{"do": "exit", "status": 97', plain))]


@pytest.mark.parametrize("message", unusual())
def test_every_other_message_is_left_for_python(
    message: bytes, wait_program: Path, ends: tuple[socket.socket, socket.socket]
) -> None:
    number = ends[1].fileno()
    sleeper = standin(wait_program, ends[1], wake=f"exec cat <&{number}")
    ends[0].sendall(message)
    ends[0].shutdown(socket.SHUT_WR)
    status, said = sleeper.end()
    if message.startswith(b'{"do": "exit", "status": ') and message.endswith(b"}\n") and not said:
        assert int(message[25:-2]) == status  # a further digit: still plain
    else:
        assert (status, said.encode()) == (0, message)


def test_a_stand_in_passes_on_every_signal(wait_program: Path, ends: tuple[socket.socket, socket.socket]) -> None:
    sleeper = standin(wait_program, ends[1])
    for number in sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}):
        os.kill(sleeper.process.pid, number)
        if number in (signal.SIGCHLD, signal.SIGPIPE):
            continue
        assert ends[0].recv(100) == b'{"do": "kill", "signal": %d}\n' % number
    ends[0].close()
    assert sleeper.end() == (WOKEN, "")


def test_a_stand_in_reaps_what_others_leave(wait_program: Path, ends: tuple[socket.socket, socket.socket]) -> None:
    number = ends[1].fileno()
    script = 'sleep 0.1 & exec -a t "$@"'
    words = ["bash", "-c", script, "sh", str(wait_program), "name", "standin", str(number), "/bin/true"]
    with subprocess.Popen(words, pass_fds=(number,)) as shell:
        ends[1].close()
        children = Path(f"/proc/{shell.pid}/task/{shell.pid}/children")
        while children.read_text():
            pass  # a zombie would stay: the test would hang
        ends[0].sendall(b'{"do": "exit", "status": 5}\n')
        assert shell.wait(timeout=20) == 5


def test_an_event_wakes_python_and_stays(wait_program: Path) -> None:
    first, second = os.pipe(), os.pipe()
    words = f"{first[0]}:{select.POLLIN},{second[0]}:{select.POLLIN}"
    wake = f"echo $1 $#; exec head -c 5 <&{second[0]}"
    sleeper = Sleeper(wait_program, "events", words, "0", fds=(first[0], second[0]), wake=wake)
    os.write(second[1], b"event")
    assert sleeper.end() == (0, "an argument 1\nevent")
    for descriptor in (*first, *second):
        os.close(descriptor)


def test_it_waits_for_a_thousand_tasks(wait_program: Path) -> None:
    read_end, write_end = os.pipe()
    sleeper = Sleeper(wait_program, "events", ",".join([f"{read_end}:{select.POLLIN}"] * 1200), "0", fds=(read_end,))
    status = Path(f"/proc/{sleeper.process.pid}/status")
    while sleeper.process.poll() is None and not re.search(r"Name:\ta name\n(.*\n)*State:\tS", status.read_text()):
        pass
    assert sleeper.process.poll() is None
    os.write(write_end, b".")
    assert sleeper.end() == (WOKEN, "")
    os.close(read_end)
    os.close(write_end)


def test_the_end_of_a_reader_is_an_event(wait_program: Path) -> None:
    read_end, write_end = os.pipe()
    sleeper = Sleeper(wait_program, "events", f"{write_end}:0", "0", fds=(write_end,))
    os.close(read_end)
    assert sleeper.end() == (WOKEN, "")
    os.close(write_end)


def test_a_signal_wakes_python_and_stays_pending(wait_program: Path) -> None:
    read_end, write_end = os.pipe()
    mask = 1 << signal.SIGUSR1 - 1
    sleeper = Sleeper(wait_program, "events", f"{read_end}:1", str(mask), fds=(read_end,), wake=PENDING)
    os.kill(sleeper.process.pid, signal.SIGTERM)  # which doesn't count, and isn't lost
    os.kill(sleeper.process.pid, signal.SIGUSR1)
    status, said = sleeper.end()
    values = {name: int(value, 16) for name, value in (line.split(":") for line in said.splitlines())}
    assert status == 0
    assert values["ShdPnd"] == mask | 1 << signal.SIGTERM - 1
    assert values["SigBlk"] & values["ShdPnd"] == values["ShdPnd"]
    os.close(read_end)
    os.close(write_end)


def test_ps_shows_the_title_alone(wait_program: Path, ends: tuple[socket.socket, socket.socket]) -> None:
    sleeper = standin(wait_program, ends[1])
    os.kill(sleeper.process.pid, signal.SIGHUP)
    ends[0].recv(100)  # it has begun
    words = Path(f"/proc/{sleeper.process.pid}/cmdline").read_bytes()
    assert words.rstrip(b"\0") == b"a title"
    assert Path(f"/proc/{sleeper.process.pid}/comm").read_text() == "a name\n"
    ends[0].close()
    assert sleeper.end() == (WOKEN, "")


@pytest.mark.parametrize("python", [("/nosuch/python", "-IS"), (sys.executable, "-IS", "/nosuch/wake.py", "3")])
def test_without_a_python_a_stand_in_is_lost(
    tmp_path: Path, ends: tuple[socket.socket, socket.socket], python: tuple[str, ...]
) -> None:
    program = built("wait", "--hosted", "-DTRIES=1")
    words = ["title", "name", "standin", str(ends[1].fileno()), *python]
    with subprocess.Popen(words, executable=program, pass_fds=(ends[1].fileno(),)) as process:
        ends[1].close()
        ends[0].close()
        assert process.wait(timeout=20) == 137


def test_what_it_says_when_called_by_hand(wait_program: Path) -> None:
    done = subprocess.run([wait_program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "scrun-wait: scrun's processes execute it themselves, while they wait\n"


def test_it_is_small_and_static() -> None:
    program = built("wait")
    said = subprocess.run(["readelf", "-hld", program], capture_output=True, text=True, check=True)
    assert "INTERP" not in said.stdout
    assert program.stat().st_size <= 20_000
