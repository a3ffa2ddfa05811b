"""exec: further processes in a container, by docker, podman and the shell."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
from pathlib import Path

import pytest

from . import console, processes, slurm
from .conftest import MakeContainer
from .engines import Engine, at_a_terminal
from .oci import Container
from .rootfs import Config
from .sessions import LINGER
from .users import Done
from .waiting import PATIENCE, read_until, wait_until

SLEEP = ("sh", "-c", "echo ready; while :; do sleep 0.1; done")
COUNT = "trap 'echo one' USR1; trap 'exit 42' TERM; echo ready; while :; do sleep 0.1; done"


@pytest.fixture
def running(container: MakeContainer) -> Container:
    """A container that does nothing in particular."""
    one = container(*SLEEP).started()
    one.wait_for_output(b"ready")
    return one


def execute(one: Container, *words: str, options: tuple[str, ...] = (), stdin: bytes = b"", **more: str) -> Done:
    """``exec [OPTIONS] ID WORDS``."""
    return one.runtime.user.run(*one.runtime.argv("exec", *options, one.id, *words), stdin=stdin, env=more or None)


def processes_in(one: Container) -> str:
    """What runs in the container."""
    return execute(one, "sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null; :").ok().stdout.replace("\0", " ")


# --- the shell


def test_output_error_and_status_are_the_process_own(running: Container) -> None:
    done = execute(running, "sh", "-c", "echo out; echo error >&2; exit 7")
    assert (done.status, done.output, done.errors) == (7, b"out\n", b"error\n")


def test_it_runs_in_the_containers_namespaces(running: Container) -> None:
    execute(running, "sh", "-c", "echo here >/made").ok()
    assert (running.bundle / "rootfs" / "made").read_text() == "here\n"
    assert "while :; do sleep 0.1" in processes_in(running)


def test_exec_works_as_soon_as_start_returns(container: MakeContainer) -> None:
    for _ in range(3):
        execute(container("sleep", "1000").started(), "true").ok()


def test_input_reaches_it_unharmed_and_ends(running: Container) -> None:
    data = random.Random(4).randbytes(2 << 20)
    assert execute(running, "sha256sum", stdin=data).ok().stdout.split()[0] == hashlib.sha256(data).hexdigest()


def test_exec_in_a_plain_bundle_leaves_dev_clean(container: MakeContainer) -> None:
    """It has no tmpfs of its own, as a directory with a root filesystem and the shortest of configurations has none.

    Two of them have the same root filesystem: the end of one leaves the other as it was.
    """

    def only_proc(config: Config) -> None:
        config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] == "/proc"]

    first = container("sh", "-c", COUNT, change=only_proc).started()
    second = container(at=first.bundle).started()
    for one in (first, second):
        one.wait_for_output(b"ready\n")
        assert execute(one, "echo", "here").ok().output == b"here\n"
        one.call("kill", "USR1").ok()
        one.wait_for_output(b"one\n")
        one.call("kill", "TERM").ok()
        assert one.ended() == 42
        one.call("delete").ok()
    assert not [*(first.bundle / "rootfs/dev").glob(".scrun*")]


@pytest.mark.slurm_only("there is no job")
def test_exec_is_a_step_of_the_containers_job(running: Container) -> None:
    done = execute(running, "sh", "-c", "echo $SLURM_JOB_ID $SLURMD_NODENAME")
    assert done.stdout.split() == [str(running.record["job"]), running.record["nodes"]]
    slurm.wait_until_alone(running.record["job"], running.record["step"])


@pytest.mark.parametrize(
    ("options", "script", "said"),
    [
        (("--env", "A=b c"), "echo $A", "b c"),
        (("-e", "A=1", "-e", "B=2"), "echo $A$B", "12"),
        (("--cwd", "/tmp"), "pwd", "/tmp"),
        ((), "pwd", "/"),
    ],
)
def test_its_environment_and_directory_can_be_given(
    running: Container, options: tuple[str, ...], script: str, said: str
) -> None:
    assert execute(running, "sh", "-c", script, options=options).ok().stdout.strip() == said


@pytest.mark.slurm_only("has it empty")
def test_named_variable_takes_the_callers_value_if_set(running: Container) -> None:
    script = "echo ${MINE-unset} ${OTHER-unset}"
    done = execute(running, "sh", "-c", script, options=("-e", "MINE", "-e", "OTHER"), MINE="here")
    assert done.ok().output == b"here unset\n"


def test_it_has_the_containers_environment(container: MakeContainer) -> None:
    one = container(*SLEEP, env=["OWN=yes"]).started()
    one.wait_for_output(b"ready")
    assert execute(one, "sh", "-c", "echo $OWN").ok().output == b"yes\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nosuch",), "executable file"),
        (("/etc",), "/etc"),
        (("/nosuch",), "/nosuch"),
    ],
)
def test_unrunnable_command_has_runcs_status(running: Container, words: tuple[str, ...], said: str) -> None:
    done = execute(running, *words)
    assert done.status == 255
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slurm_only("says it otherwise")
@pytest.mark.parametrize(
    ("options", "words", "said"),
    [
        ((), (), "either a command or --process"),
        (("--process", "/nosuch/process.json"), (), "/nosuch"),
        (("--user", "nobody"), ("true",), "--user 'nobody' is not a number"),
        (("--env", "=x"), ("true",), "names no variable"),
        (("--console-socket", "/nosuch"), ("true",), "the process has no terminal"),
        (("--detach", "--tty"), ("true",), "a detached process can't use this terminal"),
        (("--node", "node9"), ("true",), "'node9' isn't one of the container's"),
    ],
)
def test_what_is_asked_wrongly_is_one_line(
    running: Container, options: tuple[str, ...], words: tuple[str, ...], said: str
) -> None:
    done = execute(running, *words, options=options)
    assert (done.status, done.output) == (255, b"")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slurm_only("would run it")
def test_queued_container_cannot_run_a_process_yet(container: MakeContainer, held_node: int) -> None:
    one = container("sleep", "1000").created(env={"SCRUN_JOB_NODELIST": "node2", "SCRUN_CREATE_TIMEOUT": "1"})
    one.wait_until_queued()
    one.call("start").ok()
    done = execute(one, "true")
    assert done.status == 255
    assert f"container not running: its job {one.record['job']} is queued" in done.stderr


@pytest.mark.parametrize("status", ["created", "stopped"])
def test_container_that_is_not_running_refuses_exec(container: MakeContainer, status: str) -> None:
    one = container("true").created()
    if status == "stopped":
        one.call("start").ok()
        one.wait_for("stopped")
    done = execute(one, "true")
    assert done.status == 255
    assert "not running" in done.stderr


def test_a_process_object_is_run_as_it_says(running: Container, directory: Path) -> None:
    process = {"args": ["sh", "-c", "echo $A $PWD; exit 3"], "cwd": "/tmp", "env": ["PATH=/bin", "A=object"]}
    (directory / "process.json").write_text(json.dumps(process | {"user": {"uid": 0, "gid": 0}}))
    done = execute(running, options=("--process", str(directory / "process.json")))
    assert (done.status, done.output) == (3, b"object /tmp\n")


@pytest.mark.slurm_only("has no schema")
def test_a_process_object_that_is_none_is_refused(running: Container, directory: Path) -> None:
    (directory / "process.json").write_text('{"args": "sh", "cwd": "/"}')
    done = execute(running, options=("--process", str(directory / "process.json")))
    assert done.status == 255
    assert "process.json: args" in done.stderr


def test_many_can_run_at_a_time(running: Container) -> None:
    user, argv = running.runtime.user, running.runtime.argv
    started = [
        user.start(*argv("exec", running.id, "sh", "-c", f"sleep 0.5; exit {number}"), stdin=subprocess.DEVNULL)
        for number in range(8)
    ]
    assert [process.wait(PATIENCE) for process in started] == [*range(8)]


@pytest.mark.parametrize("number", ["TERM", "INT", "HUP"])
def test_signal_reaches_the_process_and_nothing_else(running: Container, directory: Path, number: str) -> None:
    script = f"trap 'exit 42' {number}; echo ready; while :; do sleep 0.1; done"
    with open(directory / "output", "wb") as output:
        process = running.runtime.user.start(
            *running.runtime.argv("exec", running.id, "sh", "-c", script), stdin=subprocess.DEVNULL, stdout=output
        )
    wait_until((directory / "output").read_bytes, "the process runs")
    subprocess.run(["kill", f"-{number}", str(process.pid)], check=True)
    assert process.wait(PATIENCE) == 42
    assert running.status() == "running"


@pytest.mark.slurm_only("leaves it running")
def test_a_process_whose_exec_is_killed_ends(running: Container, directory: Path) -> None:
    with open(directory / "output", "wb") as output:
        process = running.runtime.user.start(
            *running.runtime.argv("exec", running.id, "sh", "-c", "echo ready; exec sleep 1234"), stdout=output
        )
    wait_until((directory / "output").read_bytes, "the process runs")
    process.kill()
    process.wait(PATIENCE)
    wait_until(lambda: "sleep 1234" not in processes_in(running), "the process is gone")
    assert running.status() == "running"


@pytest.mark.slurm_only("has no step")
def test_killed_agent_ends_the_processes_it_serves(running: Container, directory: Path) -> None:
    node = running.record["nodes"]
    with open(directory / "output", "wb") as output:
        process = running.runtime.user.start(
            *running.runtime.argv("exec", running.id, "sh", "-c", "echo ready; exec sleep 1234"), stdout=output
        )
    wait_until((directory / "output").read_bytes, "the process runs")
    slurm.on_node(node, "pkill -KILL -x scrun-node")
    assert process.wait(PATIENCE) == 137
    assert running.ended() == 137
    assert f"the connection to {node} is lost: the agent has ended" in running.errors.decode()
    assert not slurm.on_node(node, "pgrep -fx 'sleep 1234'; :")


# --- detached, as the engines call it


def detach(one: Container, directory: Path, *words: str) -> int:
    """Run a process in the background; its pid."""
    file = directory / "exec.pid"
    with open(directory / "output", "wb") as output:
        process = one.runtime.user.start(
            *one.runtime.argv("exec", "--detach", "--pid-file", str(file), one.id, *words),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    assert process.wait(PATIENCE) == 0, (directory / "output").read_bytes()
    assert file.read_text().isdigit()
    return int(file.read_text())


def test_detached_process_and_its_output_continue(running: Container, directory: Path) -> None:
    pid = detach(running, directory, "sh", "-c", COUNT)
    wait_until(lambda: b"ready" in (directory / "output").read_bytes(), "it runs")
    os.kill(pid, 10)
    wait_until(lambda: (directory / "output").read_bytes() == b"ready\none\n", "the signal came")
    os.kill(pid, 10)
    wait_until(lambda: (directory / "output").read_bytes() == b"ready\none\none\n", "the next one came")
    os.kill(pid, 15)
    wait_until(lambda: not processes.is_running(pid), "its stand-in has ended")
    assert (directory / "output").read_bytes() == b"ready\none\none\n"
    assert running.status() == "running"


def test_a_refused_detached_process_leaves_no_pid_file(running: Container, directory: Path) -> None:
    done = execute(running, "nosuch", options=("--detach", "--pid-file", str(directory / "pid")))
    assert done.status == 255
    assert "executable file" in done.stderr
    assert not (directory / "pid").exists()


@pytest.mark.slurm_only("leaves it running")
def test_killing_its_stand_in_ends_the_process(running: Container, directory: Path) -> None:
    pid = detach(running, directory, "sleep", "1235")
    wait_until(lambda: "sleep 1235" in processes_in(running), "the process runs")
    os.kill(pid, 9)
    wait_until(lambda: "sleep 1235" not in processes_in(running), "the process is gone")


def test_it_ends_with_the_container(running: Container, directory: Path) -> None:
    pid = detach(running, directory, "sleep", "1236")
    running.call("kill", "KILL").ok()
    running.wait_for("stopped")
    wait_until(lambda: not processes.is_running(pid), "its stand-in has ended")


# --- a terminal


def test_console_socket_receives_a_terminal_that_follows_resizes(running: Container, directory: Path) -> None:
    script = "trap 'stty size; echo resized' WINCH; tty; echo ready; while :; do sleep 0.1; done"
    with console.listening(directory / "console") as there:
        options = ("--tty", "--detach", "--console-socket", str(there.path), "--pid-file", str(directory / "pid"))
        execute(running, "sh", "-c", script, options=options).ok()
        master = there.accept()
        assert b"/dev/" in read_until(master, b"ready\r\n")
        console.resize(master, 31, 97)
        assert b"31 97\r\n" in read_until(master, b"resized\r\n")
        os.write(master, b"\x03")
        pid = int((directory / "pid").read_text())
        wait_until(lambda: not processes.is_running(pid), "Ctrl-C has ended it")


def test_a_persons_own_terminal_is_the_process_own(running: Container, directory: Path) -> None:
    script = f"stty size; test -t 1 && echo yes; read line; echo got $line; {LINGER}; exit 6"
    words = running.runtime.argv("exec", "-t", running.id, "sh", "-c", script)
    status, screen = at_a_terminal(running.runtime.user, *words, typed={"yes": b"typed\r", "got typed": b"\r"})
    assert status == 6
    assert "got typed" in screen


def test_missing_terminal_is_refused_with_a_reason(running: Container) -> None:
    done = execute(running, "true", options=("--tty",))
    assert done.status != 0
    assert done.stderr.strip(), "it says why"


# --- the engines


@pytest.fixture
def name(engine: Engine) -> str:
    """A container that an engine runs."""
    return engine.detached(*SLEEP, ready="ready")


def test_engine_exec_returns_output_error_and_exit_code(engine: Engine, name: str) -> None:
    done = engine.call("exec", name, "sh", "-c", "echo out; echo error >&2; exit 7")
    assert (done.status, done.output, done.errors) == (7, b"out\n", b"error\n")


def test_an_engine_gives_it_input_environment_and_directory(engine: Engine, name: str) -> None:
    done = engine.call("exec", "-i", "-e", "A=b", "-w", "/tmp", name, "sh", "-c", "cat; echo $A $PWD", stdin=b"in\n")
    assert (done.status, done.output) == (0, b"in\nb /tmp\n")


@pytest.mark.parametrize(("command", "status"), [("nosuch", 127), ("/nosuch", 127), ("/etc/passwd", 126)])
def test_engine_has_its_own_status_for_unrunnable_commands(
    engine: Engine, name: str, command: str, status: int
) -> None:
    done = engine.call("exec", name, command)
    assert done.status == engine.exec_status(status), done.stderr


def test_an_engines_detached_process_runs_on(engine: Engine, name: str) -> None:
    engine.call("exec", "--detach", name, "sh", "-c", "echo $$ >/started; exec sleep 1237").ok()
    wait_until(lambda: "sleep 1237" in engine.call("exec", name, "ps").stdout, "it runs")


def test_an_engine_gives_it_a_terminal(engine: Engine, name: str) -> None:
    words = ("exec", "-it", name, "sh", "-c", f"test -t 0 && echo yes; read line; echo got $line; {LINGER}; exit 5")
    status, screen = engine.at_a_terminal(*words, typed={"yes": b"typed\r", "got typed": b"\r"})
    assert status == 5
    assert "got typed" in screen


def test_engine_runs_nothing_in_an_ended_container(main_engine: Engine) -> None:
    name = main_engine.name()
    main_engine.call(*main_engine.words(command=("true",), name=name)).ok()
    done = main_engine.call("exec", name, "true")
    assert done.status
    assert "running" in done.stderr or "state improper" in done.stderr


def test_a_health_check_tells_the_containers_health(main_engine: Engine) -> None:
    script = "echo ready; while :; do sleep 0.1; done"
    options = ("--health-cmd", "test -e /healthy", "--health-interval", "1s", "--health-retries", "1")
    name = main_engine.detached("sh", "-c", script, options=options, ready="ready")

    def health() -> str:
        if main_engine.is_podman:  # its timers are systemd's, which this cluster hasn't
            main_engine.call("healthcheck", "run", name)
        return str(main_engine.inspect(name)["State"]["Health"]["Status"])

    wait_until(lambda: health() == "unhealthy", "the check fails")
    main_engine.call("exec", name, "touch", "/healthy").ok()
    wait_until(lambda: health() == "healthy", "the check succeeds")
