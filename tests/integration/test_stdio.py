"""Standard input, output and error of a container."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import slurm
from .conftest import MakeContainer
from .waiting import PATIENCE, read_until

MEGABYTES = 5


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe; what the test has closed already is fine."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            pass


def test_output_and_error_are_kept_apart(container: MakeContainer) -> None:
    one = container("sh", "-c", "echo out; echo error >&2; echo out again; echo error again >&2").started()
    assert one.ended() == 0
    assert one.output == b"out\nout again\n"
    assert one.errors == b"error\nerror again\n"


def test_binary_input_reaches_binary_output_unchanged(container: MakeContainer, directory: Path) -> None:
    data = random.Random(7).randbytes(MEGABYTES << 20)
    (directory / "data").write_bytes(data)
    one = container("cat")
    with (directory / "data").open("rb") as stdin:
        one.started(stdin=stdin)
    assert one.ended() == 0
    assert hashlib.sha256(one.output).digest() == hashlib.sha256(data).digest()
    assert one.errors == b""


def test_binary_input_from_a_pipe_is_read_completely(container: MakeContainer, pipe: tuple[int, int]) -> None:
    data = random.Random(8).randbytes(MEGABYTES << 20)
    one = container("sha256sum")
    one.started(stdin=pipe[0])
    with os.fdopen(os.dup(pipe[1]), "wb") as writer:
        os.close(pipe[1])
        writer.write(data)
    assert one.ended() == 0
    assert one.output == hashlib.sha256(data).hexdigest().encode() + b"  -\n"


def test_large_output_and_error_at_once_lose_nothing(container: MakeContainer) -> None:
    one = container("sh", "-c", "seq 100000 & seq 100000 >&2; wait").started()
    assert one.ended() == 0
    expected = b"".join(b"%d\n" % number for number in range(1, 100001))
    assert one.output == expected
    assert one.errors == expected


def test_output_written_right_before_the_end_is_kept(container: MakeContainer) -> None:
    one = container("sh", "-c", "head -c 300000 /dev/zero; printf last").started()
    assert one.ended() == 0
    assert one.output == b"\0" * 300000 + b"last"


@pytest.mark.parametrize("prompt", ["name?\\n", "name? "], ids=["a line", "a part of one"])
def test_a_prompt_is_seen_while_the_container_waits(
    container: MakeContainer, pipe: tuple[int, int], prompt: str
) -> None:
    one = container("sh", "-c", f"printf '{prompt}'; read name; echo hello $name")
    # srun passes on whole lines; a part of one only where it is told to, since stdout is a terminal on the node then.
    one.started(stdin=pipe[0], env={} if "\\n" in prompt else {"SCRUN_UNBUFFEREDIO": "1"})
    one.wait_for_output(b"name?")
    os.write(pipe[1], b"world\n")
    assert one.ended() == 0
    assert one.output.endswith((b"hello world\n", b"hello world\r\n"))


def test_input_that_ends_ends_the_reader(container: MakeContainer, pipe: tuple[int, int]) -> None:
    one = container("sh", "-c", "cat; echo the end")
    one.started(stdin=pipe[0])
    os.write(pipe[1], b"one line\n")
    one.wait_for_output(b"one line\n")
    os.close(pipe[1])
    assert one.ended() == 0
    assert one.output == b"one line\nthe end\n"


def test_no_input_is_an_empty_one(container: MakeContainer) -> None:
    one = container("sh", "-c", "wc -c").started(stdin=subprocess.DEVNULL)
    assert one.ended() == 0
    assert one.output.split() == [b"0"]


@pytest.mark.slurm_only("a closed descriptor stays closed")
def test_closed_stdio_is_no_obstacle(container: MakeContainer) -> None:
    one = container("sh", "-c", "echo unheard; exit 7")
    shell = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    create = one.runtime.argv("create", "--bundle", str(one.bundle), one.id)
    one.runtime.user.run(*shell, *create).ok()
    one.call("start").ok()
    one.wait_for("stopped")
    assert one.record["exit_status"] == 7


def test_the_input_is_not_touched_before_start(container: MakeContainer, pipe: tuple[int, int]) -> None:
    one = container("cat")
    os.write(pipe[1], b"for the container\n")
    one.created(stdin=pipe[0])
    os.close(pipe[1])
    one.call("start").ok()
    assert one.ended() == 0
    assert one.output == b"for the container\n"


def test_output_without_reader_ends_its_writer(container: MakeContainer, pipe: tuple[int, int]) -> None:
    one = container("sh", "-c", "while echo more; do :; done; exit 9")
    one.started(stdout=pipe[1])
    os.close(pipe[1])
    read_until(pipe[0], b"more\n")
    os.close(pipe[0])
    assert one.ended() != 0


def test_standard_error_that_is_a_socket_arrives(container: MakeContainer, directory: Path) -> None:
    # containerd's and conmon's are pipes; systemd gives a service a socket, which can't be opened by its name.
    here, there = socket.socketpair()
    with here, there:
        one = container("sh", "-c", "echo out; echo error >&2; exit 3")
        argv = one.runtime.argv("create", "--bundle", str(one.bundle), one.id)
        process = one.runtime.user.start(*argv, stdout=there.fileno(), stderr=there.fileno())
        there.close()
        assert process.wait(PATIENCE) == 0
        one.call("start").ok()
        here.settimeout(PATIENCE)
        got = b""
        while data := here.recv(4096):
            got += data
    assert sorted(got.splitlines()) == [b"error", b"out"]


@pytest.mark.slurm_only("waits for no job")
def test_unread_standard_error_does_not_block_the_container(container: MakeContainer, held_node: int) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b".")
    os.set_blocking(writer, True)
    one = container("true")
    one.created(env={"SCRUN_JOB_NODELIST": "node2", "SCRUN_CREATE_TIMEOUT": "1"}, stderr=writer).call("start").ok()
    slurm.cancel(one.record["job"])
    assert one.ended() == 125
    one.call("delete").ok()
    os.close(writer)
    with open(reader, "rb") as file:
        assert b".scrun: " in file.read()
