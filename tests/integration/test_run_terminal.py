"""scrun run at a person's terminal, which is the container's while it runs, and theirs again whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import slurm
from .conftest import MakeBundle
from .oci import Runtime
from .sessions import LINGER, Session
from .waiting import PATIENCE, wait_until

CATCH = "trap 'echo caught; caught=1' {}; echo ready; until [ $caught ]; do sleep 0.1; done; " + LINGER + "; exit 42"
ON_HELD_NODE = {"SCRUN_JOB_NODELIST": "node2"}

Open = Callable[..., Session]


@pytest.fixture
def run(runtime: Runtime, bundle: MakeBundle, unique_id: str) -> Iterator[Open]:
    """Runs a command in a container with a terminal, at a terminal; afterwards that must be as it was before."""
    opened: list[tuple[Session, object]] = []

    def begin(*command: str, **more: object) -> Session:
        argv = runtime.argv("run", "--bundle", str(bundle(*command, terminal=True)), unique_id)
        session = Session(runtime.user, *argv, **more)  # type: ignore[arg-type]
        opened.append((session, session.mode()))
        return session

    yield begin
    for session, before in opened:
        try:
            assert session.process.poll() is not None
            assert session.mode() == before
        finally:
            session.close()
            runtime.run("delete", "--force", unique_id)


def is_raw(session: Session) -> bool:
    """Whether somebody has put the terminal in raw mode."""
    return not session.mode()[3] & termios.ICANON


def test_containers_terminal_has_the_windows_size(run: Open) -> None:
    session = run("sh", "-c", f"tty; stty size; {LINGER}; exit 7", size=(33, 111))
    session.expect("/dev/")
    session.expect("33 111")
    assert session.let_end() == 7


def test_what_is_typed_is_seen_once(run: Open) -> None:
    session = run("sh", "-c", f"stty -echo; echo ready; read line; echo got $line; {LINGER}")
    session.expect("ready\r\n")
    session.type("hello\r")
    session.expect("got hello\r\n")
    assert session.let_end() == 0
    assert session.screen.count(b"hello") == 1


def test_the_container_follows_the_windows_size(run: Open) -> None:
    session = run("sh", "-c", "trap 'stty size' WINCH; trap 'exit 5' INT; echo ready; while :; do sleep 0.1; done")
    session.expect("ready")
    for rows, columns in ((25, 91), (50, 132)):
        session.resize(rows, columns)
        session.expect(f"{rows} {columns}\r\n")
    session.type(b"\x03")
    assert session.ended() == 5


@pytest.mark.parametrize(("key", "name"), [(b"\x03", "INT"), (b"\x1c", "QUIT")])
def test_a_key_that_signals_signals_the_container(run: Open, key: bytes, name: str) -> None:
    session = run("sh", "-c", CATCH.format(name))
    session.expect("ready")
    session.type(key)
    session.expect("caught")
    assert session.let_end() == 42


def test_ctrl_z_suspends_a_job_inside_the_container(run: Open) -> None:
    session = run("sh", "-i")
    session.expect("[#$] ")
    session.type("sh -c 'echo sleeping; exec sleep 1000'\r")
    session.expect("sleeping\r\n")
    session.type(b"\x1a")
    session.expect("Stopped")
    session.expect("[#$] ")
    session.type("kill %1; fg\r")
    session.expect("[#$] ")
    session.type("echo then $((6 * 7))\r")
    session.expect("then 42\r\n")
    session.type("exit 5\r")
    assert session.ended() == 5


def test_ctrl_d_ends_the_shell_in_the_container(run: Open) -> None:
    session = run("sh", "-i")
    session.expect("[#$] ")
    session.type(b"\x04")
    assert session.ended() == 0


def test_a_signal_from_outside_restores_the_terminal(run: Open) -> None:
    session = run("sh", "-c", CATCH.format("TERM"))
    session.expect("ready")
    assert is_raw(session)
    os.kill(session.pid(), signal.SIGTERM)
    session.expect("caught")
    assert session.let_end() == 42


def test_cancelled_job_gives_the_terminal_back(run: Open, runtime: Runtime) -> None:
    session = run("sh", "-c", "echo ready; while :; do sleep 0.1; done")
    session.expect("ready")
    wait_until(lambda: is_raw(session), "the terminal is raw")
    for job in slurm.jobs(runtime.user):
        slurm.cancel(job)
    assert session.ended() in (137, 143)


def test_a_window_that_is_closed_ends_the_container(runtime: Runtime, bundle: MakeBundle, unique_id: str) -> None:
    path = bundle("sh", "-c", "echo ready; cat", terminal=True)
    session = Session(runtime.user, *runtime.argv("run", "--bundle", str(path), unique_id))
    session.expect("ready")
    session.close()
    wait_until(lambda: not slurm.jobs(runtime.user), "the job has gone")
    wait_until(lambda: not (runtime.root / unique_id).exists(), "its directory has gone")


def test_piped_input_reaches_the_containers_terminal(runtime: Runtime, bundle: MakeBundle, unique_id: str) -> None:
    path = bundle("sh", "-c", f"test -t 0 && read line; echo got $line; {LINGER}; exit 7", terminal=True)
    words = " ".join(runtime.argv("run", "--bundle", str(path), unique_id))
    session = Session(runtime.user, "sh", "-c", f"{{ echo piped; cat; }} | {words}")
    session.expect("got piped\r\n")
    session.type("\r")
    wait_until(lambda: not (runtime.root / unique_id).exists(), "run has ended")
    session.close()


def test_output_into_a_file_is_the_terminals(
    runtime: Runtime, bundle: MakeBundle, unique_id: str, directory: Path
) -> None:
    path = bundle("sh", "-c", f"stty -echo; test -t 1 && echo a terminal; {LINGER}; exit 7", terminal=True)
    words = " ".join(runtime.argv("run", "--bundle", str(path), unique_id))
    out = directory / "out"
    session = Session(runtime.user, "sh", "-c", f"{words} >{out}")
    wait_until(lambda: out.exists() and out.read_bytes(), "the container has written")
    assert session.let_end() == 7
    session.close()
    assert out.read_bytes() == b"a terminal\r\n"


def test_a_queued_job_is_shown_while_it_waits(run: Open, held_node: int) -> None:
    session = run("sh", "-c", f"echo runs now; {LINGER}", env=ON_HELD_NODE)
    job, since = session.expect(r"scrun: job (\d+) is queued \([A-Z]\w+\) since (\d\d:\d\d:\d\d) \(0:0").groups()
    session.expect(rf"\r.*job {job.decode()} is queued \([A-Z]\w+\) since {since.decode()} \(0:0[1-9]\)")
    assert not is_raw(session)
    slurm.release(held_node)
    session.expect("\r\x1b\\[Kruns now\r\n", timeout=60)
    assert session.let_end() == 0
    assert b"\n" not in session.screen[: session.screen.index(b"runs now")]


def test_ctrl_c_cancels_a_queued_job(run: Open, runtime: Runtime, held_node: int) -> None:
    session = run("true", env=ON_HELD_NODE)
    session.expect("is queued")
    session.type(b"\x03")
    assert session.ended() == 130
    wait_until(lambda: slurm.jobs(runtime.user) == {held_node}, "its job has gone")
    assert b"\n" not in session.screen  # the line has gone, and nothing else was said
    assert session.screen.endswith(b"\r\x1b[K")


def test_create_shows_it_too(runtime: Runtime, bundle: MakeBundle, unique_id: str, held_node: int) -> None:
    argv = runtime.argv("create", "--bundle", str(bundle("true")), unique_id)
    session = Session(runtime.user, *argv, env={**ON_HELD_NODE, "SCRUN_CREATE_TIMEOUT": "3"})
    session.expect(r"job \d+ is queued")
    assert session.ended() == 0
    assert session.screen.endswith(b"\r\x1b[K")
    runtime.run("delete", unique_id).ok()
    session.close()


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"TERM": None}], ids=["dumb", "unknown"])
def test_limited_terminal_shows_plain_lines(run: Open, held_node: int, env: dict[str, str | None]) -> None:
    session = run("true", env={**ON_HELD_NODE, **env})
    session.expect(r"scrun: job \d+ is queued( \(\w+\))?\r\n")
    session.type(b"\x03")
    assert session.ended() == 130
    assert b"\x1b" not in session.screen


def test_quiet_is_quiet(run: Open, runtime: Runtime, held_node: int) -> None:
    session = run("true", env={**ON_HELD_NODE, "SCRUN_STDERR_DEBUG": "error"})
    wait_until(lambda: slurm.jobs(runtime.user) - {held_node}, "its job is queued")
    os.kill(session.pid(), signal.SIGINT)
    assert session.ended() == 130
    assert session.screen == b""


def test_standard_error_without_terminal_stays_silent(
    runtime: Runtime, bundle: MakeBundle, unique_id: str, held_node: int
) -> None:
    argv = runtime.argv("run", "--bundle", str(bundle("true")), unique_id)
    process = runtime.user.start(*argv, env=ON_HELD_NODE, stderr=subprocess.PIPE)
    wait_until(lambda: slurm.jobs(runtime.user) - {held_node}, "its job is queued")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=PATIENCE)[1] == b""


def test_background_run_leaves_the_shells_input_alone(runtime: Runtime, bundle: MakeBundle, unique_id: str) -> None:
    path = bundle("sh", "-c", "echo ready; read line; echo the container got $line")
    session = Session(runtime.user, "bash", "--norc", "-i", env={"PS1": "prompt> "})
    session.expect("prompt> ")
    session.type(" ".join(runtime.argv("run", "--bundle", str(path), unique_id)) + " &\n")
    session.expect("ready\r\n")
    session.type("echo the shell got $((6 * 7))\n")
    session.expect("the shell got 42\r\n")
    session.type("fg\n")
    session.expect(f"{unique_id}\r\n")
    session.type("hello\n")
    session.expect("the container got hello\r\n")
    session.expect("prompt> ")
    session.type("exit\n")
    session.ended()
    session.close()
