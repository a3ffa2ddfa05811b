"""The container's step, with a shell script for srun: who writes where, when it has started, and with what it ended."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from scrun.errors import SlurmError
from scrun.lifecycle.node.step import Step
from scrun.lifecycle.process.loop import Loop

Script = Callable[..., str]

# What srun -v says of a step that runs; measured with Slurm 26.05.
RUNS = """
say() { echo "srun: $*" >&2; }
say "jobid 8: nodes(1):\\`node1', cpu counts: 1(x1)"
say 'launching StepId=8.3 on host node1, 1 tasks: 0'
say 'Node node1, 1 tasks started'
"""


class Hasty(Loop):
    """A loop whose timers are due at once: nobody waits for a grace period here."""

    def after(self, seconds: float, due: Callable[[], None]) -> int:
        return super().after(0, due)


class Run:
    """One step, its ends of the container's stdio, and what was heard of it."""

    def __init__(self, loop: Loop, argv: str | Sequence[str], **changed: Any) -> None:
        self.loop = loop
        self.events: list[object] = []
        self.errors: list[SlurmError | None] = []
        self.failed: list[str] = []
        self.said: list[str] = []
        self.descriptors: list[int | None] = []
        self.stdin_reader, self.stdin = os.pipe()
        self.stdout, self.stdout_writer = os.pipe()
        self.stderr, self.stderr_writer = os.pipe()
        words = [argv] if isinstance(argv, str) else argv
        settings: dict[str, Any] = {
            "environment": {"PATH": os.defpath},
            "stdio": [self.stdin_reader, self.stdout_writer, self.stderr_writer],
            "terminal": False,
        }

        def command(stderr: int | None) -> Sequence[str]:
            self.descriptors.append(stderr)
            return words

        self.on_start: Callable[[], object] = lambda: None
        self.when_said: Callable[[], object] = lambda: None
        self._after = changed.pop("after", None)
        self.step = Step(
            loop,
            command=command,
            started=self._started,
            ended=self._ended,
            log=self._log,
            failed=self.failed.append,
            **(settings | changed),
        )

    def _log(self, line: str) -> None:
        self.said.append(line)
        if line == self._after:
            self.when_said()

    def _started(self, error: SlurmError | None) -> None:
        self.events.append("failed" if error else "started")
        self.errors.append(error)
        self.on_start()

    def _ended(self, status: int) -> None:
        self.events.append(status)
        self.loop.stop()

    def to_the_end(self) -> list[object]:
        """Serve until the step has ended; then only our own ends of its output are open."""
        self.loop.run()
        for descriptor in (self.stdin_reader, self.stdout_writer, self.stderr_writer):
            os.close(descriptor)
        return self.events

    def output(self) -> tuple[bytes, bytes]:
        return _all(self.stdout), _all(self.stderr)

    def close(self) -> None:
        for descriptor in (self.stdin, self.stdout, self.stderr):
            os.close(descriptor)


def _all(descriptor: int) -> bytes:
    data = b""
    while piece := os.read(descriptor, 65536):
        data += piece
    return data


@pytest.fixture
def run(loop: Loop, script: Script) -> Iterator[Callable[..., Run]]:
    """Run a script in the place of srun."""
    runs: list[Run] = []

    def begin(text: str, **changed: Any) -> Run:
        runs.append(Run(changed.pop("loop", loop), script(text), **changed))
        return runs[-1]

    yield begin
    for each in runs:
        each.close()


def test_output_errors_and_sruns_words_are_kept_apart(run: Callable[..., Run]) -> None:
    it = run(f"{RUNS} echo out; echo err >/proc/self/fd/3; say done")
    assert it.to_the_end() == ["started", 0]
    assert it.output() == (b"out\n", b"err\n")
    assert it.said[-1] == "srun: done"
    assert it.descriptors == [3]
    assert it.step.progress.step == "3"


def test_input_reaches_it(run: Callable[..., Run]) -> None:
    it = run(f"{RUNS} read line; echo got $line")
    os.write(it.stdin, b"hello\n")
    it.to_the_end()
    assert it.output() == (b"got hello\n", b"")


def test_srun_gets_only_the_given_environment_and_descriptors(run: Callable[..., Run]) -> None:
    variables: Mapping[str, str] = {"PATH": os.defpath, "ONE": "1"}
    it = run(
        "exec /usr/bin/env -u PWD -u SHLVL -u _ sh -c 'echo $ONE ${HOME-none}; echo /proc/self/fd/*'",
        environment=variables,
    )
    it.to_the_end()
    first, descriptors = it.output()[0].decode().splitlines()
    assert first == "1 none"
    assert {os.path.basename(path) for path in descriptors.split()} <= {"0", "1", "2", "3", "4", "10", "255"}


@pytest.mark.parametrize("status", [0, 1, 7, 125, 127, 137, 143, 255])
def test_it_ends_with_the_status_that_srun_gives(status: int, run: Callable[..., Run]) -> None:
    assert run(f"{RUNS} exit {status}").to_the_end() == ["started", status]


def test_a_killed_srun_exits_128_plus_the_signal(run: Callable[..., Run]) -> None:
    assert run(f"{RUNS} kill -KILL $$").to_the_end() == ["started", 137]


def test_a_step_never_started_fails_with_sruns_reasons(run: Callable[..., Run]) -> None:
    it = run("echo 'srun: error: Unable to create step: Invalid job id specified' >&2; exit 1")
    assert it.to_the_end() == ["failed", 1]
    assert "did not start: Unable to create step: Invalid job id specified" in str(it.errors[0])


TWO = """
say() { echo "srun: $*" >&2; }
say 'launching StepId=8.3 on host node1, 1 tasks: 0'
say 'launching StepId=8.3 on host node2, 1 tasks: 1'
say 'Node node1, 1 tasks started'
"""


def test_it_has_started_when_every_node_has(run: Callable[..., Run]) -> None:
    it = run(f"{TWO} sleep 0.1; say 'node1: task 0: Completed'; say 'Node node2, 1 tasks started'; read go")
    it.on_start = lambda: os.write(it.stdin, b"go\n")  # what it waits for after the second node's line
    assert it.to_the_end() == ["started", 0]
    assert it.said[-1] == "srun: Node node2, 1 tasks started"


def test_a_node_without_tasks_is_named(run: Callable[..., Run]) -> None:
    it = run(f"{TWO} say 'error: Task launch for StepId=8.3 failed on node node2: Unspecified error'; exit 1")
    assert it.to_the_end() == ["failed", 1]
    assert "failed on node node2" in str(it.errors[0])


def test_which_of_several_tasks_failed_is_told(run: Callable[..., Run]) -> None:
    it = run(f"{TWO} say 'Node node2, 1 tasks started'; say 'error: node2: task 1: Exited with exit code 7'; exit 7")
    assert it.to_the_end() == ["started", 7]
    assert it.failed == ["node2: task 1: Exited with exit code 7"]


def test_of_a_single_task_the_status_tells_all(run: Callable[..., Run]) -> None:
    it = run(f"{RUNS} say 'error: node1: task 0: Exited with exit code 7'; exit 7")
    assert it.to_the_end() == ["started", 7]
    assert it.failed == []


def test_a_silent_failure_says_so_with_its_status(run: Callable[..., Run]) -> None:
    it = run("exit 3")
    assert it.to_the_end() == ["failed", 3]
    assert "srun ended with status 3 and said nothing" in str(it.errors[0])


@pytest.mark.parametrize("argv", [["/nosuch/srun"], ["/"]])
def test_an_srun_that_cannot_execute_is_a_failure(argv: list[str], loop: Loop) -> None:
    it = Run(loop, argv)
    assert it.to_the_end() == ["failed", 127]
    assert f"can't execute {argv[0]}" in str(it.errors[0])
    it.close()


def test_a_line_in_pieces_tells_the_start_once(run: Callable[..., Run]) -> None:
    it = run(
        f"{RUNS} say 'Node node2, 1 tasks started'; printf 'srun: err' >&2; read go; printf 'or: late\\n' >&2",
    )
    it.on_start = lambda: os.write(it.stdin, b"go\n")
    assert it.to_the_end() == ["started", 0]
    assert it.said[-1] == "srun: error: late"
    assert it.step.progress.errors == []  # they are for what does not start


def test_a_program_left_by_srun_delays_nobody(run: Callable[..., Run]) -> None:
    it = run(f"{RUNS} sleep 1000 >/dev/null 3>&- & echo $! >&3; exit 7")  # as a SLURM_EPILOG may do
    assert it.to_the_end() == ["started", 7]
    os.kill(int(it.output()[1]), signal.SIGKILL)


def test_very_long_lines_are_not_kept(run: Callable[..., Run]) -> None:
    it = run(f"{RUNS} head -c 3000000 /dev/zero >&2; echo >&2; say last")
    assert it.to_the_end() == ["started", 0]
    assert it.said[-1] == "srun: last"
    assert max(map(len, it.said)) <= (1 << 20) + 65536


@pytest.mark.parametrize(("task", "status", "reported"), [(0, 1, 137), (0, 7, 7), (4, 1, 1)])
def test_an_oom_kill_has_status_137(task: int, status: int, reported: int, run: Callable[..., Run]) -> None:
    it = run(f"{RUNS} say 'error: node1: task {task}: Out Of Memory'; exit {status}")
    assert it.to_the_end() == ["started", reported]


@pytest.mark.parametrize(
    ("status", "ends", "reported"),
    [
        *((0, "say 'node1: task 0: Completed'", 143), (7, "say 'node1: task 0: Exited with exit code 7'", 7)),
        (137, "say 'node1: task 0: Killed'", 137),
        # Of a node that has failed nothing more is heard, and srun's status is its own.
        *((1, ":", 143), (0, ":", 143), (137, ":", 137)),
    ],
)
def test_a_step_that_was_cancelled_is_no_success(
    status: int, ends: str, reported: int, run: Callable[..., Run]
) -> None:
    # Measured: a container that exits 0 on the SIGTERM of scancel makes srun exit 0.
    it = run(
        f"{RUNS} say 'Complete JobId=8 SLUID=s StepId=8.3 received'; "
        f"say 'Job step aborted: Waiting up to 32 seconds for job step to finish.'; {ends}; exit {status}"
    )
    assert it.to_the_end() == ["started", reported]
    unheard = [line for line in it.failed if line.startswith("no exit status has come from node1")]
    assert bool(unheard) == (ends == ":" and status < 128)


def test_terminating_tells_srun_to_end_the_step(run: Callable[..., Run]) -> None:
    it = run(f"trap 'exit 42' TERM; {RUNS} while :; do read line || exit 1; done")

    def terminate_twice() -> None:
        it.step.terminate()
        it.step.terminate()
        os.write(it.stdin, b"\n")

    it.on_start = terminate_twice
    assert it.to_the_end() == ["started", 42]


def test_an_srun_ending_too_slowly_is_killed(run: Callable[..., Run]) -> None:
    it = run(f"trap '' TERM; {RUNS} while :; do read line || exit 1; done", loop=Hasty())
    it.on_start = it.step.terminate
    assert it.to_the_end() == ["started", 137]


def test_ending_what_has_ended_is_no_error(run: Callable[..., Run]) -> None:
    it = run(RUNS)
    it.to_the_end()
    it.step.terminate()
    it.step.kill()


@pytest.mark.parametrize("size", [10, 1 << 20])
def test_errors_reach_a_standard_error_without_reopening(
    size: int, run: Callable[..., Run], fork: Callable[..., int]
) -> None:
    ours, theirs = socket.socketpair()
    plain_in, plain_out = os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY)
    it = run(f"{RUNS} head -c {size} /dev/zero >&3", stdio=[plain_in, plain_out, theirs.fileno()])
    read_end, write_end = os.pipe()

    def count() -> None:
        theirs.close()
        got = 0
        while piece := ours.recv(65536):
            got += len(piece)
        os.write(write_end, str(got).encode())

    fork(count)
    assert it.to_the_end() == ["started", 0]
    theirs.close()
    ours.close()
    assert os.read(read_end, 100) == str(size).encode()
    for descriptor in (plain_in, plain_out, read_end, write_end):
        os.close(descriptor)


# srun of a Slurm before 26.05: it waits for SIGPIPE in a thread that doesn't write, and writes on without a reader.
DEAF = r"""
import os, signal, sys, threading

def wait():
    signal.sigwait([signal.SIGPIPE])
    os.write(2, b"srun: ended\n")
    os._exit(9)

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPIPE])
threading.Thread(target=wait, daemon=True).start()
print("srun: launching StepId=8.3 on host node1, 1 tasks: 0", file=sys.stderr)
print("srun: Node node1, 1 tasks started", file=sys.stderr, flush=True)
while True:
    try:
        os.write(int(sys.argv[1]), b"more\n" * 1000)
    except BrokenPipeError:
        while True:
            signal.pause()
"""


@pytest.mark.parametrize(("kind", "descriptor"), [("pipe", 1), ("pipe", 3), ("socket", 3)])
def test_unread_output_ends_an_srun_that_ignores_it(
    kind: str, descriptor: int, run: Callable[..., Run], tmp_path: Path
) -> None:
    (tmp_path / "deaf.py").write_text(DEAF)
    if kind == "socket":
        ours, theirs = (each.detach() for each in socket.socketpair())
    else:
        ours, theirs = os.pipe()
    quiet = os.open(os.devnull, os.O_RDWR)
    stdio = [quiet, theirs, quiet] if descriptor == 1 else [quiet, quiet, theirs]
    it = run(f"exec {sys.executable} {tmp_path}/deaf.py {descriptor}", stdio=stdio)
    os.close(theirs)
    it.on_start = lambda: os.close(ours)
    assert it.to_the_end() == ["started", 9]
    os.close(quiet)


def test_without_a_reader_srun_continues_until_it_writes(run: Callable[..., Run], loop: Loop) -> None:
    it = run(f"{RUNS} read line; exit 3", loop=loop)
    os.close(it.stdout)
    it.stdout = os.dup(it.stdin)  # something to be closed at the end
    os.close(it.stdout_writer)
    it.stdout_writer = os.dup(it.stdin_reader)

    def go_on() -> None:
        os.write(it.stdin, b"go on\n")

    it.on_start = lambda: loop.after(0.5, go_on)  # when it has been looked for what srun got
    assert it.to_the_end() == ["started", 3]


def test_the_end_waits_for_the_last_errors(run: Callable[..., Run], loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the kernel makes it the least it allows
    reading = os.dup(ours.fileno())
    got = bytearray()
    it = run(f"{RUNS} head -c 60000 /dev/zero >&3; say bye", stdio=[0, 1, theirs.fileno()], after="srun: bye")
    it.when_said = lambda: loop.watch(reading, lambda: got.extend(os.read(reading, 8)))
    assert it.to_the_end() == ["started", 0]
    assert len(got) > 40000
    loop.unwatch(reading)
    ours.close()
    theirs.close()


def test_a_controlling_terminal_takes_sruns_errors_too(run: Callable[..., Run]) -> None:
    master, slave = os.openpty()
    it = run(f"{RUNS} echo out; echo err >/dev/tty; tty", stdio=[slave, slave, slave], terminal=True)
    name = os.ttyname(slave)
    assert it.to_the_end() == ["started", 0]
    assert it.descriptors == [None]
    said = b""
    while len(said.split()) < 3:  # it may come in pieces
        said += os.read(master, 1000)
    assert said.decode().split() == ["out", "err", name]
    os.close(slave)
    os.close(master)
