"""scrun run: a container in the foreground, from its creation to its end, and nothing left."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import slurm
from .conftest import MakeBundle
from .oci import Runtime
from .sessions import Session
from .waiting import PATIENCE, read_until, wait_until

TRAP = "trap 'echo caught; exit 42' {}; echo ready; while :; do sleep 0.1; done"
READY_AND_WAIT = ("sh", "-c", "echo ready; while :; do sleep 0.1; done")
ON_HELD_NODE = {"SCRUN_JOB_NODELIST": "node2"}

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(runtime: Runtime, unique_id: str) -> Iterator[Start]:
    """Starts ``run`` in the background, its output in pipes."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(bundle: Path, *options: str, **more: object) -> subprocess.Popen[bytes]:
        argv = runtime.argv("run", "--bundle", str(bundle), *options, unique_id)
        pipes: dict[str, object] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        started.append(runtime.user.start(*argv, **pipes))  # type: ignore[arg-type]
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()
        process.wait(PATIENCE)
    runtime.run("delete", "--force", unique_id)


def directory(runtime: Runtime, unique_id: str) -> Path:
    """The runtime's directory for the container."""
    return runtime.root / unique_id


def is_gone(runtime: Runtime, unique_id: str) -> bool:
    """Whether nothing of the container is left, its job included."""
    return not directory(runtime, unique_id).exists() and not slurm.jobs(runtime.user)


@pytest.mark.parametrize("status", [0, 7, 137])
def test_it_ends_with_the_containers_exit_status(
    runtime: Runtime, bundle: MakeBundle, unique_id: str, status: int
) -> None:
    path = bundle("sh", "-c", f"echo out; echo error >&2; exit {status}")
    done = runtime.run("run", "--bundle", str(path), unique_id)
    assert (done.status, done.output, done.errors) == (status, b"out\n", b"error\n")
    assert not directory(runtime, unique_id).exists()


@pytest.mark.slurm_only("there is no job")
def test_run_returns_the_status_after_its_job_ends(runtime: Runtime, bundle: MakeBundle, unique_id: str) -> None:
    done = runtime.run("run", "--bundle", str(bundle("sh", "-c", "echo $SLURM_JOB_ID; exit 7")), unique_id)
    fields = slurm.job_fields(int(done.stdout))
    assert fields["ExitCode"] == "7:0"
    assert fields["JobState"] in ("FAILED", "COMPLETING")


def test_working_directory_is_the_default_bundle(runtime: Runtime, bundle: MakeBundle, unique_id: str) -> None:
    done = runtime.run("run", unique_id, cwd=bundle("echo", "here"))
    assert (done.status, done.stdout) == (0, "here\n")


def test_an_id_can_be_used_again(runtime: Runtime, bundle: MakeBundle, unique_id: str) -> None:
    path = bundle("echo", "again")
    for _ in range(2):
        assert runtime.run("run", "--bundle", str(path), unique_id).ok().stdout == "again\n"


def test_kept_container_is_stopped_and_deletable(runtime: Runtime, bundle: MakeBundle, unique_id: str) -> None:
    done = runtime.run("run", "--keep", "--bundle", str(bundle("sh", "-c", "exit 7")), unique_id)
    assert done.status == 7
    assert '"stopped"' in runtime.run("state", unique_id).ok().stdout
    runtime.run("delete", unique_id).ok()
    assert not directory(runtime, unique_id).exists()


def test_detached_run_continues_and_writes_its_pid(
    runtime: Runtime, bundle: MakeBundle, unique_id: str, directory: Path
) -> None:
    pid_file = directory / "pid"
    path = bundle(*READY_AND_WAIT)
    runtime.run("run", "--detach", "--pid-file", str(pid_file), "--bundle", str(path), unique_id).ok()
    try:
        state = runtime.run("state", unique_id).ok().stdout.replace(" ", "")
        assert '"status":"running"' in state
        assert f'"pid":{pid_file.read_text()},' in state
    finally:
        runtime.run("delete", "--force", unique_id).ok()


def test_input_reaches_the_container(start: Start, bundle: MakeBundle) -> None:
    process = start(bundle("sh", "-c", "cat; exit 7"), stdin=subprocess.PIPE)
    assert process.communicate(b"one\ntwo", PATIENCE) == (b"one\ntwo", b"")
    assert process.returncode == 7


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2"])
def test_a_signal_goes_to_the_container(start: Start, bundle: MakeBundle, name: str) -> None:
    process = start(bundle("sh", "-c", TRAP.format(name)))
    assert process.stdout
    read_until(process.stdout.fileno(), b"ready\n")
    process.send_signal(getattr(signal, f"SIG{name}"))
    assert read_until(process.stdout.fileno(), b"caught\n") == b"caught\n"
    assert process.wait(PATIENCE) == 42


@pytest.mark.slurm_only("leaves the container running")
def test_killed_outright_it_takes_the_container_with_it(
    start: Start, bundle: MakeBundle, runtime: Runtime, unique_id: str
) -> None:
    process = start(bundle(*READY_AND_WAIT))
    assert process.stdout
    read_until(process.stdout.fileno(), b"ready\n")
    process.kill()
    process.wait(PATIENCE)
    wait_until(lambda: is_gone(runtime, unique_id), "nothing is left")


@pytest.mark.slurm_only("nothing is queued")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_interrupting_run_while_queued_leaves_nothing(
    start: Start, bundle: MakeBundle, runtime: Runtime, unique_id: str, held_node: int, number: signal.Signals
) -> None:
    process = start(bundle("true"), env=ON_HELD_NODE)
    wait_until(lambda: slurm.jobs(runtime.user) - {held_node}, "its job is queued")
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert errors == b""
    wait_until(lambda: slurm.jobs(runtime.user) == {held_node}, "its job has gone")
    wait_until(lambda: not directory(runtime, unique_id).exists(), "its directory has gone")


def was_left_alone(path: Path) -> bool:
    """Whether run had done all its work when it was killed, and only its own end was to come."""
    try:
        return "goes on without who created it" in (path / "anchor.log").read_text()
    except FileNotFoundError:
        return False


def is_free(path: Path) -> bool:
    """Whether a directory is empty, and no process of its container is there any more."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return not os.listdir(descriptor)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


@pytest.mark.slurm_only("there is no job")
@pytest.mark.parametrize("moment", [0.01, 0.03, 0.05, 0.08, 0.12, 0.2])
@pytest.mark.parametrize("options", [[], ["--detach"]], ids=["attached", "detached"])
def test_killed_at_any_moment_it_leaves_no_job(
    start: Start, bundle: MakeBundle, runtime: Runtime, unique_id: str, moment: float, options: list[str]
) -> None:
    process = start(bundle("sleep", "1000"), *options)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.kill()
    path = directory(runtime, unique_id)
    if process.wait(PATIENCE) == 0 or was_left_alone(path):
        runtime.run("delete", "--force", unique_id).ok()  # it was in the background before that moment
    # Killed before anybody else was there it leaves an empty directory, which whoever wants the id next takes over.
    wait_until(lambda: not path.exists() or is_free(path), "nothing is left in its directory")
    wait_until(lambda: not slurm.jobs(runtime.user), "its job has gone")
    assert runtime.run("run", "--bundle", str(bundle("true")), unique_id).ok().output == b""
    wait_until(lambda: is_gone(runtime, unique_id), "nothing is left")


@pytest.mark.slurm_only("there is no job")
def test_a_job_that_is_cancelled_ends_it(start: Start, bundle: MakeBundle, runtime: Runtime) -> None:
    process = start(bundle("sh", "-c", "echo ready $SLURM_JOB_ID; while :; do sleep 0.1; done"))
    assert process.stdout
    job = int(read_until(process.stdout.fileno(), b"\n").split()[1])
    slurm.cancel(job)
    assert process.wait(PATIENCE) in (137, 143)


@pytest.mark.slurm_only("there is no anchor")
@pytest.mark.parametrize("whose", ["anchor", "pid"])
def test_it_ends_with_its_anchor_or_stand_in(
    start: Start, bundle: MakeBundle, runtime: Runtime, unique_id: str, whose: str
) -> None:
    process = start(bundle(*READY_AND_WAIT))
    assert process.stdout
    read_until(process.stdout.fileno(), b"ready\n")
    record = json.loads((directory(runtime, unique_id) / "state.json").read_text())
    os.kill(record[whose], signal.SIGKILL)
    assert process.wait(PATIENCE) == 137
    assert not directory(runtime, unique_id).exists()
    wait_until(lambda: is_gone(runtime, unique_id), "its job has gone")


@pytest.mark.slurm_only("exits with 1, as runc does")
@pytest.mark.parametrize(("command", "status"), [("nosuch", 127), ("/etc/passwd", 126)])
def test_what_cannot_be_executed_has_dockers_exit_status(
    runtime: Runtime, bundle: MakeBundle, unique_id: str, command: str, status: int
) -> None:
    done = runtime.run("run", "--bundle", str(bundle(command)), unique_id)
    assert (done.status, done.output) == (status, b"")
    assert len(done.stderr.splitlines()) == 1
    assert not directory(runtime, unique_id).exists()


@pytest.mark.slurm_only("exits with 1, as runc does")
def test_what_slurm_refuses_is_125(runtime: Runtime, bundle: MakeBundle, unique_id: str) -> None:
    done = runtime.run("run", "--bundle", str(bundle("true")), unique_id, env={"SCRUN_PARTITION": "nosuch"})
    assert done.status == 125
    assert "partition" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_missing_terminal_is_an_error(runtime: Runtime, bundle: MakeBundle, unique_id: str) -> None:
    done = runtime.run("run", "--bundle", str(bundle("true", terminal=True)), unique_id)
    assert done.status
    assert "tty" in done.stderr
    assert not directory(runtime, unique_id).exists()


@pytest.mark.slurm_only("says it otherwise")
@pytest.mark.parametrize(
    ("terminal", "options", "said"),
    [(True, ["--detach"], "--console-socket"), (False, ["--console-socket", "/nosuch"], "--console-socket")],
)
def test_mismatched_terminals_and_console_sockets_are_refused(
    runtime: Runtime, bundle: MakeBundle, unique_id: str, terminal: bool, options: list[str], said: str
) -> None:
    done = runtime.run("run", *options, "--bundle", str(bundle("true", terminal=terminal)), unique_id)
    assert done.status
    assert said in done.stderr
    assert not directory(runtime, unique_id).exists()


def test_ctrl_c_interrupts_a_container_without_a_terminal(runtime: Runtime, bundle: MakeBundle, unique_id: str) -> None:
    session = Session(
        runtime.user, *runtime.argv("run", "--bundle", str(bundle("sh", "-c", TRAP.format("INT"))), unique_id)
    )
    session.expect("ready")
    session.type(b"\x03")
    session.expect("caught")
    assert session.ended() == 42
    session.close()


def test_typed_lines_reach_a_container_without_a_terminal(runtime: Runtime, bundle: MakeBundle, unique_id: str) -> None:
    path = bundle("sh", "-c", "echo ready; cat; echo the end")
    session = Session(runtime.user, *runtime.argv("run", "--bundle", str(path), unique_id))
    session.expect("ready")
    session.type("hello\n")
    session.expect("hello\r\nhello")
    session.type(b"\x04")
    session.expect("the end")
    assert session.ended() == 0
    session.close()


@pytest.mark.slurm_only("its spec's container needs what it may not do here")
def test_what_spec_writes_runs_as_it_stands(
    runtime: Runtime, bundle: MakeBundle, unique_id: str, directory: Path
) -> None:
    path = bundle("true")
    (path / "config.json").unlink()
    runtime.run("spec", cwd=path).ok()
    session = Session(runtime.user, *runtime.argv("run", "--bundle", str(path), unique_id))
    session.expect("[#$] ")
    session.type("echo $0 $((6 * 7))\r")
    session.expect("sh 42\r\n")
    session.type("exit 5\r")
    assert session.ended() == 5
    session.close()
