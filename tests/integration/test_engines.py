"""docker run and podman run: what a person sees of a container, its exit status before all."""

from __future__ import annotations

import hashlib
import random

import pytest

from . import slurm
from .engines import Engine
from .sessions import LINGER
from .waiting import wait_until

slurms_own = pytest.mark.slurm_only("there is no job")

TRAP = ("sh", "-c", "trap 'echo bye; exit 42' TERM; echo ready; while :; do sleep 0.1; done")
IGNORING = ("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")


def test_output_and_error_arrive_apart(engine: Engine) -> None:
    done = engine.run("sh", "-c", "echo out; echo error >&2")
    assert (done.status, done.output, done.errors) == (0, b"out\n", b"error\n")


@pytest.mark.parametrize("status", [1, 7, 137])
def test_the_exit_status_is_the_containers(engine: Engine, status: int) -> None:
    done = engine.run("sh", "-c", f"exit {status}", options=("--rm",))
    assert done.status == status
    assert done.stderr == ""


def test_the_exit_status_is_remembered(main_engine: Engine) -> None:
    name = main_engine.name()
    assert main_engine.call(*main_engine.words(command=("sh", "-c", "exit 7"), name=name)).status == 7
    state = main_engine.inspect(name)["State"]
    assert (state["ExitCode"], state["Running"], state["Error"]) == (7, False, "")


@pytest.mark.parametrize("options", [(), ("--userns=keep-id",)], ids=["plain", "keep-id"])
def test_changes_are_as_on_this_host(main_engine: Engine, options: tuple[str, ...]) -> None:
    if options and not main_engine.is_podman:
        pytest.skip("docker has no keep-id")
    changes = []
    for runtime in (main_engine.runtime, "crun" if main_engine.is_podman else "runc"):
        name = main_engine.name()
        words = main_engine.words(*options, command=("touch", "/tmp/made"), name=name)
        main_engine.call(*[f"--runtime={runtime}" if word.startswith("--runtime=") else word for word in words]).ok()
        changes.append(sorted(main_engine.call("diff", name).ok().stdout.splitlines()))
    assert changes[0] == changes[1]


@slurms_own
def test_the_container_is_a_job_on_a_node(engine: Engine) -> None:
    done = engine.run("sh", "-c", "echo $SLURM_JOB_ID $SLURMD_NODENAME; exit 7", options=("--rm",))
    job, node = done.stdout.split()
    assert node in ("node1", "node2")
    assert slurm.job_fields(int(job))["UserId"].startswith(f"{engine.user.name}(")
    wait_until(lambda: slurm.job_fields(int(job))["ExitCode"] == "7:0", "the job has the container's exit status")


def test_missing_command_is_127_in_engine_words(engine: Engine) -> None:
    done = engine.run("nosuch", options=("--rm",))
    assert done.status == 127
    assert 'exec: "nosuch": executable file not found in $PATH' in done.stderr.replace("`nosuch`", '"nosuch"') or (
        engine.runtime == "crun" and "nosuch" in done.stderr
    )


@pytest.mark.parametrize("command", ["/nosuch", "/bin/nosuch"])
def test_a_path_that_is_not_there_is_127(engine: Engine, command: str) -> None:
    done = engine.run(command, options=("--rm",))
    assert done.status == 127
    assert "no such file or directory" in done.stderr.lower()


@pytest.mark.parametrize("command", ["/etc/passwd", "/etc"])
def test_what_cannot_be_executed_is_126(engine: Engine, command: str) -> None:
    done = engine.run(command, options=("--rm",))
    assert done.status == 126
    assert "permission denied" in done.stderr.lower()
    assert "scrun: scrun:" not in done.stderr


@pytest.mark.parametrize("command", ["/etc", "/etc/passwd"])
def test_what_cannot_be_executed_beside_it_is_126(engine: Engine, command: str) -> None:
    name = engine.detached("sh", "-c", "echo ready; exec sleep 1000", ready="ready")
    done = engine.call("exec", name, command)
    assert done.status == 126
    assert "scrun: scrun:" not in done.stderr


def test_piped_input_reaches_the_container(engine: Engine) -> None:
    done = engine.run("sh", "-c", "cat; exit 7", options=("--rm", "-i"), stdin=b"one\ntwo")
    assert (done.status, done.output) == (7, b"one\ntwo")


def test_binary_input_of_some_megabytes_is_unharmed(main_engine: Engine) -> None:
    data = random.Random(9).randbytes(3 << 20)
    done = main_engine.run("sha256sum", options=("--rm", "-i"), stdin=data)
    assert done.stdout.split()[0] == hashlib.sha256(data).hexdigest()


def test_binary_output_of_some_megabytes_is_unharmed(engine: Engine) -> None:
    data = random.Random(10).randbytes(3 << 20)
    done = engine.run("cat", options=("--rm", "-i"), stdin=data)
    assert hashlib.sha256(done.output).digest() == hashlib.sha256(data).digest()


def test_a_terminal(engine: Engine) -> None:
    script = f"tty; stty size; read line; echo got $line; {LINGER}; exit 7"
    words = engine.words("--rm", "-i", "-t", command=("sh", "-c", script))
    status, screen = engine.at_a_terminal(*words, typed={"/dev/": b"hello\n", "got hello": b"\n"})
    assert status == 7, screen
    assert "got hello" in screen


def test_ctrl_c_at_the_terminal_reaches_the_container(main_engine: Engine) -> None:
    words = main_engine.words(
        *("--rm", "-i", "-t"), command=("sh", "-c", "trap 'exit 42' INT; echo ready; while :; do sleep 0.1; done")
    )
    assert main_engine.at_a_terminal(*words, typed={"ready": b"\x03"})[0] == 42


def test_stop_lets_the_container_end_itself(engine: Engine) -> None:
    name = engine.detached(*TRAP, ready="ready")
    engine.call("stop", "--time", "1000", name).ok()
    assert engine.exit_code(name) == 42
    assert "bye" in engine.call("logs", name).stdout


def test_stop_kills_what_does_not_end_itself(engine: Engine) -> None:
    # Two seconds of patience; the C scrun took 33. What is bounded here is the engine's own call.
    name = engine.detached(*IGNORING, ready="ready")
    engine.call("stop", "--time", "2", name, timeout=30).ok()
    assert engine.exit_code(name) == 137


def test_kill_ends_the_container_with_137(engine: Engine) -> None:
    name = engine.detached(*IGNORING, ready="ready")
    engine.call("kill", name).ok()
    assert engine.exit_code(name) == 137


def test_kill_sends_any_signal(main_engine: Engine) -> None:
    name = main_engine.detached(
        "sh", "-c", "trap 'exit 43' USR1; echo ready; while :; do sleep 0.1; done", ready="ready"
    )
    main_engine.call("kill", "--signal", "USR1", name).ok()
    assert main_engine.exit_code(name) == 43


def test_killing_an_ended_container_is_an_engine_error(main_engine: Engine) -> None:
    name = main_engine.detached("true")
    main_engine.exit_code(name)
    done = main_engine.call("kill", name)
    assert done.status != 0
    assert "not running" in done.stderr or "can only kill running containers" in done.stderr


def test_remove_by_force_ends_what_runs(engine: Engine) -> None:
    name = engine.detached(*IGNORING, ready="ready")
    engine.remove(name).ok()
    assert engine.call("inspect", name).status != 0


def test_in_the_background_with_logs_and_wait(engine: Engine) -> None:
    name = engine.detached("sh", "-c", "echo out; echo error >&2; exit 7")
    assert engine.exit_code(name) == 7
    logs = engine.call("logs", name).ok()
    assert (logs.output, logs.errors) == (b"out\n", b"error\n")


def test_rm_leaves_nothing_of_the_container(main_engine: Engine) -> None:
    name = main_engine.name()
    main_engine.call(*main_engine.words("--rm", command=("true",), name=name)).ok()
    assert main_engine.call("inspect", name).status != 0


def test_create_and_start_apart(main_engine: Engine) -> None:
    name = main_engine.name()
    words = main_engine.words(command=("sh", "-c", "echo ran; exit 7"), name=name)
    main_engine.call("create", *words[1:]).ok()
    assert main_engine.inspect(name)["State"]["Status"] == "created"
    assert main_engine.call("start", "--attach", name).status == 7
    assert main_engine.call("logs", name).output == b"ran\n"


def test_a_container_can_be_started_again(main_engine: Engine) -> None:
    name = main_engine.name()
    script = "echo x >>/tmp/runs; wc -l </tmp/runs"
    first = main_engine.call(*main_engine.words(command=("sh", "-c", script), name=name)).ok()
    second = main_engine.call("start", "--attach", name).ok()
    assert (first.stdout.strip(), second.stdout.strip()) == ("1", "2")


def test_what_the_container_changed_can_be_copied_out(engine: Engine) -> None:
    name = engine.name()
    engine.call(*engine.words(command=("sh", "-c", "echo made >/made; mkdir /d; rm /bin/cat"), name=name)).ok()
    changes = set(engine.call("diff", name).ok().stdout.split("\n"))
    assert {"A /made", "A /d", "D /bin/cat"} <= changes
    copied = engine.call("cp", f"{name}:/made", "-").ok()
    assert b"made\n" in copied.output


def test_variables_reach_the_container(main_engine: Engine) -> None:
    done = main_engine.run("env", options=("--rm", "-e", "A=b c", "-e", "UNICODE=ü"))
    assert {"A=b c", "UNICODE=ü"} <= set(done.stdout.splitlines())


@slurms_own
def test_a_variable_of_the_container_chooses_the_partition(engine: Engine) -> None:
    done = engine.run("sh", "-c", "echo $SLURM_JOB_PARTITION", options=("--rm", "-e", "SCRUN_PARTITION=short"))
    assert done.stdout == "short\n"


@slurms_own
def test_what_slurm_refuses_is_the_engines_error(main_engine: Engine) -> None:
    done = main_engine.run("true", options=("-e", "SCRUN_PARTITION=nosuch"))
    assert done.status in (125, 126, 127, 128)
    assert "partition" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_user_the_working_directory_and_the_hostname(main_engine: Engine) -> None:
    done = main_engine.run("sh", "-c", "pwd; hostname", options=("--rm", "-w", "/tmp", "--hostname", "named"))
    assert done.stdout.split() == ["/tmp", "named"]


def test_two_at_once(main_engine: Engine) -> None:
    names = [main_engine.detached(*TRAP, ready="ready") for _ in range(2)]
    main_engine.call("kill", names[0]).ok()
    assert main_engine.exit_code(names[0]) == 137
    assert main_engine.is_running(names[1])


def test_a_removal_while_it_starts_is_no_obstacle(main_engine: Engine) -> None:
    name = main_engine.detached("sleep", "1000")
    main_engine.remove(name).ok()
    assert main_engine.call("inspect", name).status != 0


@slurms_own
def test_a_cancelled_job_is_a_failed_container(main_engine: Engine) -> None:
    before = slurm.jobs()
    name = main_engine.detached(*TRAP, ready="ready")
    (job,) = slurm.jobs() - before
    slurm.cancel(job)
    assert main_engine.exit_code(name) in (42, 137, 143)
