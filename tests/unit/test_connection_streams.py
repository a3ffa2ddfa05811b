"""Streams between descriptors and a node: exact, bounded, and never in the loop's way."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_agent import SteppedLoop

from scrun.lifecycle.connection import descriptors, inputs
from scrun.lifecycle.connection.frames import BEYOND, WINDOW, ProtocolError
from scrun.lifecycle.connection.inputs import Input
from scrun.lifecycle.connection.outputs import Output
from scrun.lifecycle.process.loop import Loop


class Written:
    """An output, and what it said."""

    def __init__(self, loop: Loop, descriptor: int) -> None:
        self.credit = 0
        self.said: list[str] = []
        self.output = Output(loop, descriptor, more=self.more, gone=self.gone, over=lambda: self.said.append("over"))

    def more(self, length: int) -> None:
        self.credit += length

    def gone(self, why: str) -> None:
        self.said.append(f"gone {why}".strip())

    def put(self, data: bytes) -> None:
        self.output.put(memoryview(data))


class Read:
    """An input, and what came of it."""

    def __init__(self, loop: Loop, descriptor: int, may_read: Callable[[], bool] | None = None) -> None:
        self.came = b""
        self.ends = 0
        self.input = Input(loop, descriptor, data=self.data, ended=self.end, may_read=may_read)

    def data(self, piece: bytes) -> None:
        self.came += piece

    def end(self) -> None:
        self.ends += 1


@pytest.fixture
def opened() -> Iterator[list[int]]:
    """Descriptors that are closed after the test."""
    made: list[int] = []
    yield made
    for descriptor in made:
        os.close(descriptor)


def pipe(opened: list[int]) -> tuple[int, int]:
    ends = os.pipe()
    opened.extend(ends)
    return ends


def drop(opened: list[int], descriptor: int) -> None:
    opened.remove(descriptor)
    os.close(descriptor)


def is_blocking(descriptor: int) -> bool:
    return not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_NONBLOCK


def terminal(opened: list[int]) -> tuple[int, int]:
    master, slave = os.openpty()
    opened.extend((master, slave))
    tty.setraw(slave)
    return master, slave


# --- output

KINDS = ["pipe", "fifo", "socket", "terminal", "pipe of another user", "terminal's master"]


def reading_end(kind: str, tmp_path: Path, opened: list[int], monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """A descriptor to write to, and one to read from."""
    if kind == "socket":
        here, there = socket.socketpair()
        ends = (here.detach(), there.detach())
        opened.extend(ends)
        return ends
    if kind.startswith("terminal"):
        master, slave = terminal(opened)
        return (slave, master) if kind == "terminal" else (master, slave)
    if kind == "fifo":
        os.mkfifo(tmp_path / "fifo")
        read_end = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        write_end = os.open(tmp_path / "fifo", os.O_WRONLY)
        os.set_blocking(read_end, True)
        opened.extend((read_end, write_end))
        return write_end, read_end
    read_end, write_end = pipe(opened)
    if kind == "pipe of another user":
        cannot_open(monkeypatch)
    return write_end, read_end


def cannot_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another user's descriptor is: good to use, but not to be opened anew."""

    class Os:
        def __getattr__(self, name: str) -> object:
            return getattr(os, name)

        def open(self, path: str, *_flags: int) -> int:
            raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(descriptors, "os", Os())


@pytest.mark.parametrize("kind", KINDS)
def test_slow_reader_gets_everything_in_order(
    kind: str, stepped: SteppedLoop, tmp_path: Path, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_end, read_end = reading_end(kind, tmp_path, opened, monkeypatch)
    written = Written(stepped, write_end)
    assert is_blocking(write_end)
    if kind != "terminal's master":  # whose last holder's end takes with it what is unread
        drop(opened, write_end)
    data = os.urandom(WINDOW)
    for at in range(0, len(data), 65536):
        written.put(data[at : at + 65536])
    written.output.end()
    stepped.settle()
    assert written.said == []  # nobody has read yet
    got = b""
    while len(got) < len(data):
        stepped.until(lambda: bool(select.select([read_end], [], [], 0)[0]))
        got += os.read(read_end, 5000)
    assert got == data
    stepped.until(lambda: written.said == ["over"])
    assert written.output.held == 0


def test_credit_is_given_for_what_is_written_only(stepped: SteppedLoop, opened: list[int]) -> None:
    read_end, write_end = pipe(opened)
    written = Written(stepped, write_end)
    for _ in range(4):
        written.put(bytes(65536))
    assert written.credit == 65536  # what a pipe holds
    assert written.output.held == 3 * 65536
    got = 0
    while got < 4 * 65536:
        stepped.until(lambda: bool(select.select([read_end], [], [], 0)[0]))
        got += len(os.read(read_end, 65536))
    stepped.until(lambda: written.output.held == 0)
    assert written.credit == WINDOW
    written.output.close()


def test_more_than_credit_plus_pipe_is_refused(stepped: SteppedLoop, opened: list[int]) -> None:
    _read_end, write_end = pipe(opened)
    written = Written(stepped, write_end)
    for _ in range((WINDOW + BEYOND) // 65536):
        written.put(bytes(65536))
    assert written.output.held <= WINDOW + BEYOND
    for _ in range(2):  # the pipe has taken one, and credit was given for it
        try:
            written.put(bytes(65536))
        except ProtocolError:
            break
    else:
        pytest.fail("it took more than was allowed")
    written.output.close()
    assert written.said == ["over"]


def test_output_after_its_end_is_refused(stepped: SteppedLoop, opened: list[int]) -> None:
    written = Written(stepped, pipe(opened)[1])
    written.output.end()
    with pytest.raises(ProtocolError):
        written.put(b"x")


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_departed_reader_is_reported_before_any_write(
    kind: str, stepped: SteppedLoop, tmp_path: Path, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_end, read_end = reading_end(kind, tmp_path, opened, monkeypatch)
    written = Written(stepped, write_end)
    stepped.settle()
    assert written.said == []
    drop(opened, read_end)
    stepped.until(lambda: bool(written.said))
    assert written.said == ["gone"]
    written.put(b"dropped")
    written.output.end()
    assert written.said == ["gone", "over"]


@pytest.mark.parametrize("kind", KINDS)
def test_reader_leaving_while_awaited_is_reported(
    kind: str, stepped: SteppedLoop, tmp_path: Path, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_end, read_end = reading_end(kind, tmp_path, opened, monkeypatch)
    written = Written(stepped, write_end)
    drop(opened, write_end)
    for _ in range(4):
        written.put(bytes(65536))
    stepped.settle()
    waited: list[bool] = []
    written.output.when_written(lambda: waited.append(True))
    assert waited == []
    drop(opened, read_end)
    if kind == "terminal's master":  # its buffer goes on taking until it is full; cat has the rest
        for _ in range(40):
            if not written.said:
                written.put(bytes(20000))
                stepped.settle()
        written.output.close()
        stepped.until(lambda: "over" in written.said)
        return
    stepped.until(lambda: bool(written.said))
    assert written.said[0].startswith("gone")
    assert waited == [True]
    written.output.end()
    stepped.until(lambda: written.said[-1] == "over")


def test_a_named_pipe_may_get_another_reader(stepped: SteppedLoop, tmp_path: Path, opened: list[int]) -> None:
    os.mkfifo(tmp_path / "fifo")
    first = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    write_end = os.open(tmp_path / "fifo", os.O_WRONLY)
    opened.append(write_end)
    written = Written(stepped, write_end)
    os.close(first)
    stepped.settle()
    second = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    opened.append(second)
    written.put(b"hello")
    assert (os.read(second, 10), written.said) == (b"hello", [])
    written.output.close()


def test_a_full_disk_is_told_with_its_reason(stepped: SteppedLoop, opened: list[int]) -> None:
    opened.append(os.open("/dev/full", os.O_WRONLY))
    written = Written(stepped, opened[-1])
    written.put(b"x")
    assert written.said == ["gone No space left on device"]
    written.output.end()


def test_two_streams_into_one_file_share_its_position(stepped: SteppedLoop, tmp_path: Path, opened: list[int]) -> None:
    opened.append(os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT))
    one, two = Written(stepped, opened[-1]), Written(stepped, opened[-1])
    for text in (b"a\n", b"b\n", b"c\n"):
        one.put(text)
        two.put(text)
    assert (tmp_path / "log").read_bytes() == b"a\na\nb\nb\nc\nc\n"
    for each in (one, two):
        each.output.end()
        assert each.said == ["over"]


def test_when_written_waits_only_for_earlier_data(stepped: SteppedLoop, opened: list[int]) -> None:
    read_end, write_end = pipe(opened)
    written = Written(stepped, write_end)
    calls: list[str] = []
    written.output.when_written(lambda: calls.append("at once"))
    written.put(bytes(65536 + 4096))
    written.output.when_written(lambda: calls.append("after the first"))
    written.put(bytes(65536))
    assert calls == ["at once"]
    os.read(read_end, 4096)
    stepped.until(lambda: len(calls) == 2)
    assert written.output.held == 65536
    written.output.close()


# --- input


def source(kind: str, tmp_path: Path, opened: list[int], monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """A descriptor to read from, and one to write to."""
    if kind == "pipe of another user" or kind == "pipe":
        read_end, write_end = pipe(opened)
        if kind != "pipe":
            cannot_open(monkeypatch)
        return read_end, write_end
    return (
        reading_end(kind, tmp_path, opened, monkeypatch)[::-1]
        if kind == "fifo"
        else reading_end(kind, tmp_path, opened, monkeypatch)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_input_is_exact_and_within_its_credit(
    kind: str, stepped: SteppedLoop, tmp_path: Path, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_end, write_end = source(kind, tmp_path, opened, monkeypatch)
    read = Read(stepped, read_end)
    assert is_blocking(read_end)
    os.set_blocking(write_end, False)
    data = os.urandom(WINDOW + 100_000)
    sent = 0

    def feed() -> None:
        nonlocal sent
        try:
            while sent < len(data):
                sent += os.write(write_end, data[sent : sent + 3000])
        except BlockingIOError:
            stepped.after(0.0005, feed)

    feed()
    stepped.settle()
    assert read.came == b""  # nothing is taken before the program runs
    read.input.go_on()
    stepped.until(lambda: len(read.came) == WINDOW)
    stepped.settle()
    assert len(read.came) == WINDOW
    read.input.more(10)
    stepped.until(lambda: len(read.came) == WINDOW + 10)
    stepped.settle()
    assert len(read.came) == WINDOW + 10
    read.input.more(WINDOW)
    stepped.until(lambda: len(read.came) == len(data))
    assert read.came == data
    assert read.ends == 0
    drop(opened, write_end)
    stepped.until(lambda: read.ends == 1)
    stepped.settle()
    assert (read.ends, [*stepped._ready]) == (1, [stepped._wake])


@pytest.mark.parametrize("kind", ["pipe", "fifo"])
def test_departed_writers_data_is_read_to_its_end(
    kind: str, stepped: SteppedLoop, tmp_path: Path, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_end, write_end = source(kind, tmp_path, opened, monkeypatch)
    os.write(write_end, b"x\n")
    drop(opened, write_end)
    read = Read(stepped, read_end)
    read.input.go_on()
    stepped.until(lambda: read.ends == 1)
    assert read.came == b"x\n"


def test_unrequested_input_is_left_to_others(stepped: SteppedLoop, opened: list[int]) -> None:
    read_end, write_end = pipe(opened)
    os.write(write_end, b"mine")
    read = Read(stepped, read_end)
    stepped.settle()
    read.input.close()
    assert os.read(read_end, 10) == b"mine"


def test_file_reading_starts_and_stops_at_its_position(stepped: SteppedLoop, tmp_path: Path, opened: list[int]) -> None:
    data = os.urandom(WINDOW + 50_000)
    (tmp_path / "file").write_bytes(b"head" + data)
    opened.append(os.open(tmp_path / "file", os.O_RDONLY))
    os.read(opened[0], 4)
    read = Read(stepped, opened[0])
    read.input.go_on()
    stepped.until(lambda: len(read.came) == WINDOW)
    stepped.settle()
    assert os.lseek(opened[0], 0, os.SEEK_CUR) == 4 + WINDOW
    read.input.more(WINDOW)
    stepped.until(lambda: read.ends == 1)
    assert read.came == data


@pytest.mark.parametrize("name", ["/dev/null", "/"])
def test_what_holds_nothing_ends_at_once(name: str, stepped: SteppedLoop, opened: list[int]) -> None:
    opened.append(os.open(name, os.O_RDONLY))
    read = Read(stepped, opened[-1])
    read.input.go_on()
    assert (read.came, read.ends) == (b"", 1)


def test_a_terminal_of_another_job_is_left_alone(
    stepped: SteppedLoop, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "_LOOK_AGAIN", 0.01)
    master, slave = terminal(opened)
    mine = False
    read = Read(stepped, slave, lambda: mine)
    read.input.go_on()
    os.write(master, b"secret")
    stepped.settle()
    assert read.came == b""
    mine = True
    stepped.until(lambda: read.came == b"secret")
    assert not stepped._timers
    read.input.close()


def test_a_terminal_that_hangs_up_ends(stepped: SteppedLoop, opened: list[int]) -> None:
    master, slave = terminal(opened)
    read = Read(stepped, slave)
    read.input.go_on()
    drop(opened, master)
    stepped.until(lambda: read.ends == 1)


def test_child_waiting_for_input_ends_with_it(
    stepped: SteppedLoop, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cannot_open(monkeypatch)
    read_end, write_end = pipe(opened)
    read = Read(stepped, read_end)
    read.input.go_on()
    child = read.input._child
    assert child
    stepped.settle()
    read.input.close()
    stepped.until(lambda: read.input._child == 0)
    os.write(write_end, b"not taken")
    assert os.read(read_end, 20) == b"not taken"
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_pausing_and_going_on(stepped: SteppedLoop, opened: list[int]) -> None:
    read_end, write_end = pipe(opened)
    read = Read(stepped, read_end)
    read.input.go_on()
    read.input.pause()
    os.write(write_end, b"x")
    stepped.settle()
    assert read.came == b""
    read.input.go_on()
    assert read.came == b"x"
    read.input.close()


def test_nothing_wakes_an_idle_loop(stepped: SteppedLoop, opened: list[int]) -> None:
    read_end, write_end = pipe(opened)
    other_read, other_write = pipe(opened)
    read, written = Read(stepped, read_end), Written(stepped, other_write)
    read.input.go_on()
    stepped.settle()
    calls = 0

    class Counting:
        def poll(self, patience: float | None) -> list[tuple[int, int]]:
            nonlocal calls
            calls += 1
            assert patience is None
            signal.alarm(0)
            os.write(write_end, b"x")
            return inner.poll(1000)

        def __getattr__(self, name: str) -> object:
            return getattr(inner, name)

    inner, stepped._poll = stepped._poll, Counting()  # type: ignore[assignment]
    read.input._data = lambda _piece: stepped.stop()
    stepped._running = True
    stepped.run()
    assert calls == 1
    stepped._poll = inner
    read.input.close()
    written.output.close()
    del other_read
