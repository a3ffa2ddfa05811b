"""exec: the scripts that run a process on the node and reach it there, with a runtime that is a shell script."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from unchecked import anything

from scrun import marks
from scrun.errors import SlurmError, UsageError, WrongStatus
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.exec import exec_script, session
from scrun.lifecycle.node import members
from scrun.lifecycle.operations import exec as lifecycle_exec
from scrun.lifecycle.process import wire
from scrun.lifecycle.process.loop import Loop

RECORD: Any = {
    "job": 42,
    "step": "3",
    "user": "alice",
    "uid": os.getuid(),
    "tasks": 1,
    "runtime": {"kind": "crun", "command": "crun", "name": "%n.%u.%j.%s.%t"},
}
# Takes the options as crun does: --log=L exec --pid-file P --process F NAME; its process is this shell itself.
RUNNING = 'case $1 in state) echo "{ \\"status\\": \\"running\\" }"; exit 0; esac; '
RUNS = RUNNING + 'cat "$6" >"$0.process"; echo "$7" >"$0.name"; printf %s $$ >"$4"'
REFUSES = RUNNING + 'echo "2026-01-01T00:00:00.000000Z: chdir to /x: No such file or directory" >"${1#--log=}"; exit 1'
REFUSES_LIKE_RUNC = RUNNING + 'echo "time=\\"2026\\" level=error msg=\\"exec: no such file\\"" >"${1#--log=}"; exit 1'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What is the user's own on the node; it isn't there at first."""
    (tmp_path / "tmp").mkdir(mode=0o700)
    return tmp_path / "tmp" / f"scrun-{os.getuid()}"


def directories(home: Path, token: str, job: int | str = "*") -> list[Path]:
    """Those of the processes of that name."""
    return [*home.glob(f"exec-{job}-*-{token}*")]


@pytest.fixture
def token(home: Path) -> Iterator[str]:
    """A process's name; nothing of it may be left."""
    made = f"test-{uuid.uuid4().hex}"
    yield made
    assert not directories(home, made)


@pytest.fixture
def on_a_node(script: Callable[..., str], tmp_path: Path, home: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a script where crun does what is given, or was given before; its /tmp is a directory of the test's."""
    started: list[subprocess.Popen[str]] = []

    def start(text: str, runtime: str = "", *, tmp: str = "tmp", **variables: str) -> subprocess.Popen[str]:
        if runtime:
            script(runtime, "crun")
        text = text.replace("/tmp /dev/shm", f"{tmp_path}/{tmp} {tmp_path}/shm")
        environment = {"PATH": f"{tmp_path}:{os.defpath}", "SLURMD_NODENAME": "node1", **variables}
        started.append(
            subprocess.Popen(
                ["/bin/sh", "-c", text], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


Start = Callable[..., subprocess.Popen[str]]


def watch(on_a_node: Start, token: str) -> tuple[int, str, str]:
    """Watch a process that is there or comes; the watcher's exit status, and what it said."""
    while (watching := on_a_node(marks.SAY + exec_script.watch(RECORD, token))).wait() == exec_script.NOT_SEEN:
        pass
    said, errors = watching.communicate()
    return (watching.returncode, "\n".join(marks.texts(said.encode())), errors)


def test_the_runtime_gets_the_process_and_the_containers_name_and_its_status_is_the_answer(
    on_a_node: Start, token: str, tmp_path: Path
) -> None:
    text = exec_script.run(RECORD, token, watched=False)
    secret = """{"env": ["A='$HOME' `id` \\\\ \\"x"]}"""
    done = on_a_node(text, f"{RUNS}; exit 7", **exec_script.variables(secret))
    assert (done.wait(), *done.communicate()) == (7, "", "")
    assert (tmp_path / "crun.process").read_text() == f"{secret}\n"
    assert (tmp_path / "crun.name").read_text() == "node1.alice.42.3.0\n"
    assert secret not in text


@pytest.mark.parametrize("size", [exec_script.PIECE - 1, exec_script.PIECE, exec_script.PIECE * 4 + 7])
def test_a_process_object_of_any_size_arrives_whole(on_a_node: Start, token: str, tmp_path: Path, size: int) -> None:
    process = ("0123456789abcdef\\n$x" * (size // 16))[:size] + "]}"
    text = exec_script.run(RECORD, token, watched=False)
    assert on_a_node(text, RUNS, **exec_script.variables(process)).wait() == 0
    assert (tmp_path / "crun.process").read_text() == f"{process}\n"


def test_as_many_variables_are_read_as_are_written_at_most() -> None:
    variables = exec_script.variables("x" * (exec_script.PIECE * exec_script.MOST_PIECES))
    names = [name for name in variables if name.startswith(exec_script.PROCESS)]
    text = exec_script.run(RECORD, "token", watched=False)
    assert len(names) == exec_script.MOST_PIECES
    assert all(f"${{{name}}}" in text for name in names)


# As slurmstepd writes it; the mount's option and the annotation look like variables, too.
CONFIG = r"""{
  "process": {
    "args": [
      "A=no"
    ],
    "env": [
      "SLURM_PROCID=0",
      "PMI_RANK=0",
      "CUDA_VISIBLE_DEVICES=0,1",
      "AWKWARD=a\"b\\c $HOME `id`] \n",
      "EMPTY=",
      "OWN=task",
      "LAST=] }"
    ]
  },
  "mounts": [
    {
      "options": [
        "MODE=755"
      ]
    }
  ]
}
"""


def gets(on_a_node: Start, token: str, tmp_path: Path, process: dict[str, Any], left_out: set[str]) -> list[str]:
    """The environment that the runtime is told of, beside a container whose task has CONFIG's."""
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b/config.json").write_text(CONFIG)
    said = f"cat <<'END'\n{json.dumps({'status': 'running', 'bundle': f'{tmp_path}/a b'})}\nEND\n".replace("/", "\\/")
    runtime = RUNS.replace(RUNNING, f"case $1 in state) {said}exit 0; esac; ")
    text = exec_script.run(RECORD, token, watched=False)
    done = on_a_node(text, runtime, **exec_script.variables(json.dumps(process), left_out))
    assert (done.wait(), *done.communicate()) == (0, "", "")
    env: list[str] = json.loads((tmp_path / "crun.process").read_text())["env"]
    return env


def test_it_has_what_the_task_was_given_but_what_is_left_out(on_a_node: Start, token: str, tmp_path: Path) -> None:
    task = ["SLURM_PROCID=0", "CUDA_VISIBLE_DEVICES=0,1", 'AWKWARD=a"b\\c $HOME `id`] \n', "EMPTY=", "LAST=] }"]
    process = {"args": ["x"], "env": ["A=b"]}
    assert gets(on_a_node, token, tmp_path, process, {"OWN", "not*a.name"}) == ["A=b", *task]


def test_where_the_tasks_environment_is_not_told_it_has_its_own(on_a_node: Start, token: str, tmp_path: Path) -> None:
    text = exec_script.run(RECORD, token, watched=False)
    assert on_a_node(text, RUNS, **exec_script.variables('{"env": ["A=b"]}')).wait() == 0
    assert json.loads((tmp_path / "crun.process").read_text()) == {"env": ["A=b"]}


def test_of_several_tasks_it_takes_one_that_is_on_the_node(on_a_node: Start, token: str, tmp_path: Path) -> None:
    runtime = f'case "$*" in "state "*.[013]) exit 1; esac; {RUNS}'
    on_a_node(exec_script.run(RECORD | {"tasks": 4}, token, watched=False), runtime, SCRUN_EXEC_PROCESS="{}").wait()
    assert (tmp_path / "crun.name").read_text() == "node1.alice.42.3.2\n"


def test_a_node_is_asked_for_no_more_tasks_than_the_one_with_most_has(script: Callable[..., str]) -> None:
    for text in (
        exec_script.run(RECORD | {"tasks": 1000, "tasks_on_a_node": 3}, "t", watched=False),
        members.script(RECORD | {"tasks": 1000, "tasks_on_a_node": 3}, ""),
    ):
        assert "for task in 0 1 2; do" in text


def test_the_process_has_the_umask_that_its_runtime_was_called_with(on_a_node: Start, token: str) -> None:
    text = exec_script.run(RECORD, token, watched=False)
    done = on_a_node(f"umask 027; {text}", f"{RUNS}; umask", SCRUN_EXEC_PROCESS="{}")
    assert done.communicate()[0] == "0027\n"


def test_when_its_job_is_ended_by_a_signal_nothing_is_left_on_the_node(
    on_a_node: Start, token: str, home: Path
) -> None:
    text = exec_script.run(RECORD, token, watched=False)
    running = on_a_node(text, f"{RUNS}; exec sleep 1000", SCRUN_EXEC_PROCESS="{}")
    assert watch(on_a_node, token) == (0, "", "")
    (made,) = directories(home, token)
    pid = int((made / "pid").read_text())
    running.terminate()  # slurmd's signal goes to both
    os.kill(pid, signal.SIGTERM)
    assert running.wait() == 143


def test_a_container_that_is_only_starting_is_waited_for(on_a_node: Start, token: str, tmp_path: Path) -> None:
    late = 'case $1 in state) [ -e "$0.asked" ] || { : >"$0.asked"; exit 1; }; esac'
    runtime = f"{late}; {RUNS}; exit 7"
    assert on_a_node(exec_script.run(RECORD, token, watched=False), runtime, SCRUN_EXEC_PROCESS="{}").wait() == 7


def test_where_tmp_is_of_no_use_the_memorys_directory_is(on_a_node: Start, token: str, tmp_path: Path) -> None:
    text = exec_script.run(RECORD, token, watched=False)
    done = on_a_node(text, RUNS, tmp="nosuch", SCRUN_EXEC_PROCESS="{}")
    said = f"exec: node1: {tmp_path}/nosuch: no such directory; {tmp_path}/shm: no such directory\n"
    assert (done.wait(), *done.communicate()) == (255, "", said)
    (tmp_path / "shm").mkdir(mode=0o700)
    running = on_a_node(text, f"{RUNS}; exec sleep 1000", tmp="nosuch", SCRUN_EXEC_PROCESS="{}")
    sending = on_a_node(exec_script.send(RECORD, token, signal.SIGKILL), tmp="nosuch")
    assert (sending.wait(), *sending.communicate()) == (0, "", "")
    assert running.wait() == 137
    assert os.listdir(tmp_path / f"shm/scrun-{os.getuid()}") == []


def test_a_process_that_could_not_be_run_is_255_at_once_when_nobody_watches(on_a_node: Start, token: str) -> None:
    assert on_a_node(exec_script.run(RECORD, token, watched=False), REFUSES, SCRUN_EXEC_PROCESS="{}").wait() == 255


@pytest.mark.parametrize(
    ("runtime", "said"),
    [
        (REFUSES, "exec failed: chdir to /x: No such file or directory"),
        (REFUSES_LIKE_RUNC, "exec failed: exec: no such file"),
    ],
)
def test_who_watches_learns_why_it_could_not_be_run(on_a_node: Start, token: str, runtime: str, said: str) -> None:
    running = on_a_node(exec_script.run(RECORD, token, watched=True), runtime, SCRUN_EXEC_PROCESS="{}")
    assert watch(on_a_node, token) == (exec_script.NOT_RUN, said, "")
    assert running.wait() == 255


def test_who_watches_what_is_not_there_does_not_take_it_for_one_that_runs(on_a_node: Start, token: str) -> None:
    assert on_a_node(exec_script.watch(RECORD, token)).wait() == exec_script.NOT_SEEN


def test_who_watches_is_told_of_a_process_that_runs_while_it_runs(on_a_node: Start, token: str) -> None:
    text = exec_script.run(RECORD, token, watched=True)
    running = on_a_node(text, f"{RUNS}; exec sleep 1000", SCRUN_EXEC_PROCESS="{}")
    assert watch(on_a_node, token) == (0, "", "")
    sending = on_a_node(exec_script.send(RECORD, token, signal.SIGKILL))
    assert (sending.wait(), *sending.communicate()) == (0, "", "")
    assert running.wait() == 137


def wait_until(condition: Callable[[], bool]) -> None:
    """Until the condition holds, for a minute at most."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def sent(on_a_node: Start, token: str, number: int = signal.SIGKILL) -> subprocess.Popen[str]:
    """A signal that isn't long waited with for the process to come."""
    sending = on_a_node(exec_script.send(RECORD, token, number).replace("-ge 50", "-ge 1"))
    assert sending.wait() == 0
    return sending


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that nobody has anything against; it lives."""
    process = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    yield process
    assert process.poll() is None
    process.kill()
    process.wait()


def test_a_pid_that_is_another_process_by_now_gets_no_signal(
    on_a_node: Start, token: str, home: Path, bystander: subprocess.Popen[bytes]
) -> None:
    home.mkdir(mode=0o700)
    by_killed = home / f"exec-42-1-77-{token}"
    by_killed.mkdir()
    (by_killed / "pid").write_text(str(bystander.pid))
    assert sent(on_a_node, token).communicate() == ("", "")
    shutil.rmtree(by_killed)
    text = exec_script.run(RECORD, token, watched=False)
    running = on_a_node(text, f"{RUNS}; exec sleep 1000", SCRUN_EXEC_PROCESS="{}")
    assert watch(on_a_node, token) == (0, "", "")
    (made,) = directories(home, token)
    its_own = (made / "pid").read_text()
    (made / "pid").write_text(str(bystander.pid))
    assert sent(on_a_node, token).communicate() == ("", "")
    assert running.poll() is None
    (made / "pid").write_text(its_own)
    sent(on_a_node, token)
    assert running.wait() == 137


def test_another_users_directory_of_that_name_is_not_used(
    on_a_node: Start, token: str, home: Path, bystander: subprocess.Popen[bytes]
) -> None:
    home.mkdir(mode=0o755)  # as good as another user's: others can enter it
    trap = home / f"exec-42-1-77-{token}"
    trap.mkdir()
    (trap / "pid").write_text(str(bystander.pid))
    assert on_a_node(exec_script.watch(RECORD, token)).wait() == exec_script.NOT_SEEN
    sent(on_a_node, token)
    for _ in range(2):
        text = exec_script.run(RECORD, f"{token}-own", watched=False)
        assert on_a_node(text, RUNS, SCRUN_EXEC_PROCESS="{}").wait() == 0
    (own,) = home.parent.glob(f"{home.name}-own-*")
    assert (stat.S_IMODE(own.stat().st_mode), os.listdir(own)) == (0o700, [])
    assert os.listdir(trap) == ["pid"]
    shutil.rmtree(trap)


@pytest.mark.parametrize("name", ["a) S 1 1 1", "line\nfeed", "(", ") "])
def test_a_process_of_any_name_gets_its_signal(
    on_a_node: Start, token: str, tmp_path: Path, home: Path, name: str
) -> None:
    (tmp_path / name).symlink_to(shutil.which("sleep") or "")
    running = on_a_node(
        exec_script.run(RECORD, token, watched=False),
        f'{RUNS}; exec "$NAME" 1000',
        SCRUN_EXEC_PROCESS="{}",
        NAME=str(tmp_path / name),
    )
    assert watch(on_a_node, token) == (0, "", "")
    (made,) = directories(home, token)
    comm = Path(f"/proc/{(made / 'pid').read_text()}/comm")
    wait_until(lambda: comm.read_text() == f"{name}\n")
    sent(on_a_node, token)
    assert running.wait() == 137


def test_what_a_killed_one_left_goes_with_the_next_of_that_job_and_nothing_else(
    on_a_node: Start, token: str, home: Path
) -> None:
    def killed(job: int) -> Path:
        text = exec_script.run(RECORD | {"job": job}, f"{token}-killed", watched=False)
        process = on_a_node(text, f"{RUNS}; kill -9 $PPID", SCRUN_EXEC_PROCESS="{}")
        assert process.wait() == -signal.SIGKILL
        (left,) = directories(home, f"{token}-killed", job)
        return left

    left, anothers = killed(42), killed(43)
    running = on_a_node(
        exec_script.run(RECORD, token, watched=False), f"{RUNS}; exec sleep 1000", SCRUN_EXEC_PROCESS="{}"
    )
    assert watch(on_a_node, token) == (0, "", "")
    assert not left.exists()
    (its_own,) = directories(home, token, 42)
    other = exec_script.run(RECORD, f"{token}-other", watched=False)
    assert on_a_node(other, RUNS, SCRUN_EXEC_PROCESS="{}").wait() == 0
    assert (its_own / "pid").exists()
    assert on_a_node(exec_script.send(RECORD, token, signal.SIGKILL)).wait() == 0
    assert running.wait() == 137
    assert anothers.exists()
    shutil.rmtree(anothers)


def test_where_a_link_of_that_name_leads_is_left_alone(
    on_a_node: Start, token: str, tmp_path: Path, home: Path
) -> None:
    kept = tmp_path / "kept"
    (kept / "exec-42-999999999-1-x").mkdir(parents=True)
    kept.chmod(0o700)
    home.symlink_to(kept)
    assert on_a_node(exec_script.run(RECORD, token, watched=False), RUNS, SCRUN_EXEC_PROCESS="{}").wait() == 0
    assert os.listdir(kept) == ["exec-42-999999999-1-x"]


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_the_shell_has_nothing_to_say_of_a_runtime_that_is_killed(
    on_a_node: Start, token: str, script: Callable[..., str], shell: str
) -> None:
    text = exec_script.run(RECORD, token, watched=False)
    runtime = f"{RUNS}; echo its own >&2; kill -9 $$"
    process = on_a_node('exec "$SHELL" -c "$TEXT"', runtime, SHELL=shell, TEXT=text, SCRUN_EXEC_PROCESS="{}")
    assert (process.wait(), process.communicate()[1]) == (137, "its own\n")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("exec failed: no such file", "exec failed: no such file"),
        ("srun: error: x\nexec failed: y\nsrun: error: z", "exec failed: y"),
        ("", "exec failed: the node's runtime did not say why"),
        (
            "exec failed: the path `/x` exists but it is not executable: Operation not permitted",
            "exec failed: the path `/x` exists but it is not executable: Operation not permitted: permission denied",
        ),
        (
            "exec failed: the path `/etc` is not a regular file: Operation not permitted",
            "exec failed: the path `/etc` is not a regular file: Operation not permitted: permission denied",
        ),
    ],
)
def test_the_reason_has_the_words_that_engines_read(said: str, reason: str) -> None:
    assert session._reason(said) == reason


@pytest.mark.parametrize("written", ["creating", "created", "stopped", "paused"])
def test_only_a_container_that_runs_can_run_more(container: Container, written: str) -> None:
    container.record.update({"status": written, "step": "0"})
    with pytest.raises(WrongStatus, match=f"container not running: it is {written}"):
        lifecycle_exec.check(container, lifecycle_exec.ExecOptions())


def test_one_that_is_paused_can_when_that_is_said(container: Container) -> None:
    container.record.update({"status": "paused", "step": "0", "nodes": "n1"})
    lifecycle_exec.check(container, lifecycle_exec.ExecOptions(ignore_paused=True))


def test_one_without_nodes_is_queued(container: Container) -> None:
    container.record.update({"status": "running", "job": 42})
    with pytest.raises(WrongStatus, match="its job 42 is queued"):
        lifecycle_exec.check(container, lifecycle_exec.ExecOptions())


def test_one_that_is_being_started_is_waited_for(
    container: Container, fork: Callable[..., int], exit_code: Callable[[int], int]
) -> None:
    container.record.update({"status": "running", "job": 42, "nodes": "n1"})
    container.save()
    waiting = fork(lifecycle_exec.check, container, lifecycle_exec.ExecOptions())
    container.record["step"] = "0"
    container.save()
    assert exit_code(waiting) == 0


def test_one_that_is_being_started_is_not_waited_for_for_ever(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle_exec, "STARTING", 0.05)
    container.record.update({"status": "running", "job": 42, "nodes": "n1"})
    container.save()
    with pytest.raises(WrongStatus, match="container not running: it is starting"):
        lifecycle_exec.check(container, lifecycle_exec.ExecOptions())


@pytest.mark.parametrize(("wanted", "found"), [("", "n1"), ("n1", "n1"), ("n3", "n3")])
def test_it_runs_on_the_first_node_or_the_one_named(wanted: str, found: str) -> None:
    assert lifecycle_exec._node({"nodes": "n[1-3]"}, wanted) == found  # type: ignore[typeddict-item]


def test_another_node_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'n4' is none of the container's: it runs on n\[1-3\]"):
        lifecycle_exec._node({"nodes": "n[1-3]"}, "n4")  # type: ignore[typeddict-item]


class Hasty(Loop):
    """A loop whose timers are due at once."""

    def after(self, seconds: float, due: Callable[[], None]) -> int:
        return super().after(0, due)


@pytest.fixture
def session_of(
    container: Container, script: Callable[..., str], fork: Callable[..., int]
) -> Callable[[str], tuple[int, int]]:
    """Be the stand-in of a session whose srun is that script: the session's pid, and the channel to it."""

    def start(srun: str) -> tuple[int, int]:
        container.record.update(RECORD | {"srun": [script(srun, "srun")]})
        order: Any = {
            "token": "t",
            "node": "node1",
            "environment": {"PATH": os.defpath, exec_script.PROCESS: "{}"},
        }
        order |= {"watch": False, "terminal": False, "own_terminal": False}
        here, there = wire.pair()

        def be_it() -> None:
            os.close(here)
            loop = Hasty()
            session.Session(loop, container, order, stdio=[0, 1, 2], stand_in=there, caller=None)
            loop.run()

        pid = fork(be_it)
        os.close(there)
        return pid, here

    return start


def test_who_waits_for_a_process_whose_step_does_not_start_is_told_why(
    session_of: Callable[[str], tuple[int, int]],
) -> None:
    _pid, channel = session_of("echo 'srun: error: Node node1 is down' >&2; exit 1")
    reader = wire.Reader(channel)
    assert (reader.next(anything) or {})["do"] == "step"
    failure = reader.next(anything)
    assert failure
    with pytest.raises(SlurmError, match="did not start: Node node1 is down"):
        wire.raise_failure(failure)
    os.close(channel)


def test_a_stand_in_that_hears_of_an_error_raises_it(fork: Callable[..., int], exit_code: Callable[[int], int]) -> None:
    here, there = wire.pair()
    wire.send(there, wire.failure(SlurmError("node1 is down")))

    def stand_in() -> int:
        with pytest.raises(SlurmError, match="node1 is down"):
            session.stand_in(here)
        return 7

    assert exit_code(fork(stand_in)) == 7
    os.close(here)
    os.close(there)


def test_when_the_stand_in_is_killed_the_session_ends_its_step_and_itself(
    session_of: Callable[[str], tuple[int, int]], exit_code: Callable[[int], int]
) -> None:
    beside = 'case "$*" in *--quiet*) exit 0;; esac; '  # the step that sends the signal
    pid, channel = session_of(f"{beside}trap 'exit 0' TERM; sleep 1000 & wait")
    assert (wire.Reader(channel).next(anything) or {})["do"] == "step"
    os.close(channel)
    assert exit_code(pid) == 0


@pytest.fixture
def ordered(container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Have a process run in a container with one program, /bin/tool, as far as the order to the session."""
    (tmp_path / "rootfs/bin").mkdir(parents=True)
    (tmp_path / "rootfs/bin/tool").touch(0o755)
    process = {"args": ["tool"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"]}
    config = {"ociVersion": "1.2.0", "process": process, "root": {"path": "rootfs"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    here = {"bundle": str(tmp_path), "rootfs": str(tmp_path / "rootfs"), "config_file": "config.json"}
    container.record.update(
        RECORD | {"status": "running", "nodes": "node1", "srun": ["srun"], "job_environment": [], **here}
    )
    given: list[dict[str, Any]] = []

    def note(_container: Container, order: dict[str, Any], *_: object) -> int:
        given.append(order)
        return 0

    for way in ("_attached", "_detached"):
        monkeypatch.setattr(lifecycle_exec, way, note)

    def order(*words: str, **options: Any) -> Any:
        lifecycle_exec.run_in_container(container, lifecycle_exec.ExecOptions(words, **options), lambda _note: None)
        return given.pop()

    return order


@pytest.mark.parametrize(
    ("words", "options", "watch"),
    [
        (["tool"], {"detach": True}, False),
        (["nosuch"], {"detach": True}, True),
        (["tool"], {"detach": True, "cwd": "/nosuch"}, True),
        (["nosuch"], {}, False),
    ],
)
def test_the_node_is_asked_whether_it_runs_where_nobody_waits_and_it_cannot_be_seen_from_here(
    words: list[str], options: dict[str, Any], watch: bool, ordered: Callable[..., dict[str, Any]]
) -> None:
    assert ordered(*words, **options)["watch"] is watch


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"console_socket": "/nosuch"}, "--console-socket is given but the process wants no terminal: give --tty"),
        ({"detach": True, "tty": True}, "no terminal of the caller's: give --console-socket"),
    ],
)
def test_a_terminal_without_a_place_for_it_and_a_place_without_one_are_refused(
    options: dict[str, Any], said: str, ordered: Callable[..., dict[str, Any]]
) -> None:
    with pytest.raises(UsageError, match=said):
        ordered("tool", **options)
