"""What a caller of a runtime gives to each of its calls, and takes from it, by hand: as dockerd and conmon do."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import slurm
from .conftest import MakeContainer
from .oci import Container, Runtime
from .processes import descendants, is_running
from .users import User, Variables
from .waiting import PATIENCE, wait_until

pytestmark = pytest.mark.slurm_only("has its own tests of its command line")

TRAP = "trap 'echo got hup' HUP; trap 'exit 42' TERM; echo ready; while :; do sleep 0.1; done"
RFC3339 = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"


def nothing(user: User) -> Variables:
    """No environment at all: what podman's delete, pause and resume get."""
    return dict.fromkeys(user.environment({}))


def little(user: User) -> Variables:
    """What podman's start, kill and update get."""
    return {**nothing(user), "PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": f"/run/user/{user.uid}"}


@pytest.fixture
def no_default_conf(slurm_conf: Callable[..., Path]) -> Iterator[Path]:
    """A configuration that must be named to be found: the cluster's own is out of the way."""
    conf = slurm_conf()
    usual, aside = Path("/etc/slurm/slurm.conf"), Path("/etc/slurm/slurm.conf.aside")
    usual.rename(aside)
    yield conf
    aside.rename(usual)


@pytest.mark.parametrize("environment", [nothing, little])
@pytest.mark.parametrize("whose", ["alice", "root"])
def test_each_call_does_with_what_podman_gives_it(
    no_default_conf: Path,
    container: MakeContainer,
    request: pytest.FixtureRequest,
    whose: str,
    environment: Callable[[User], Variables],
) -> None:
    # Only create knows where the configuration is.
    user = request.getfixturevalue(whose)
    one = container("sh", "-c", TRAP, user=user).created(env={"SLURM_CONF": str(no_default_conf)})
    given = environment(user)
    for call in ("start", "state", "pause", "resume", "kill HUP", "ps", "update"):
        verb, *words = call.split()
        options = ["--time-limit", "30"] if verb == "update" else []
        if verb == "start":
            one.call(verb, env=given).ok()
            one.wait_for_output(b"ready\n")
        else:
            one.call(verb, *words, options=options, env=given).ok()
    one.wait_for_output(b"got hup\n")
    done = one.runtime.run("exec", one.id, "sh", "-c", "echo execd; exit 3", env=given)
    assert (done.status, done.output) == (3, b"execd\n"), done.stderr
    one.call("kill", "TERM", env=given).ok()
    assert one.ended() == 42
    one.call("delete", options=["--force"], env=given).ok()
    assert not one.path.exists()


@pytest.mark.parametrize("words", [("--version",), ("features",), ("version",)])
def test_what_asks_about_the_runtime_needs_no_environment(runtime: Runtime, words: tuple[str, ...]) -> None:
    done = runtime.run(*words, env=nothing(runtime.user)).ok()
    assert done.stderr == ""
    if words == ("features",):
        document = json.loads(done.output)
        assert document["ociVersionMin"] <= document["ociVersionMax"]
    else:
        assert re.match(r"scrun version \S+\ncommit: \S+\nspec: 1\.", done.stdout)


VERBS = {
    "start": (),
    "state": (),
    "kill": ("9",),
    "delete": (),
    "pause": (),
    "resume": (),
    "ps": (),
    "events": (),
    "update": (),
    "exec": ("true",),
}


@pytest.mark.parametrize("verb", VERBS)
def test_unknown_container_error_is_one_json_object(
    runtime: Runtime, unique_id: str, directory: Path, verb: str
) -> None:
    log = directory / "log.json"
    done = runtime.run("--log", str(log), "--log-format", "json", verb, unique_id, *VERBS[verb])
    assert done.status == (255 if verb == "exec" else 1)
    assert done.stdout == ""
    (entry,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert set(entry) == {"level", "msg", "time"}
    assert entry["level"] == "error"
    assert re.fullmatch(RFC3339, entry["time"])
    assert "does not exist" in entry["msg"]
    assert done.stderr == f"scrun: {entry['msg']}\n"


@pytest.mark.parametrize("verb", ["kill", "pause", "exec"])
def test_ended_container_is_reported_as_not_running(container: MakeContainer, verb: str) -> None:
    # containerd's shim takes "container not running" of kill for success.
    one = container("true").started()
    one.ended()
    done = one.runtime.run(verb, one.id, *VERBS[verb])
    assert done.status != 0
    assert "container not running" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("long", [100, 9000])
def test_message_with_a_long_name_is_one_object(container: MakeContainer, directory: Path, long: int) -> None:
    log = directory / "log.json"
    one = container("n" * long)
    done = one.create(global_options=["--log", str(log), "--log-format", "json"])
    assert done.status == 1
    (entry,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert "executable file not found in" in entry["msg"]


# --- descriptors


def holders(pipe: int) -> set[int]:
    """The processes that have an end of a pipe open."""
    wanted = os.readlink(f"/proc/self/fd/{pipe}")
    found = set()
    for directory in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):
            if any(os.readlink(file) == wanted for file in directory.iterdir()):
                found.add(int(directory.parent.name))
    return found - {os.getpid()}


def test_nothing_holds_conmons_pipes(container: MakeContainer, directory: Path) -> None:
    # conmon lets its runtime inherit both, and podman waits for their end.
    one = container("sh", "-c", TRAP)
    pipes = [os.pipe() for _ in range(2)]
    ends = [end for pipe in pipes for end in pipe]
    env = {"_OCI_SYNCPIPE": str(pipes[0][1]), "_OCI_STARTPIPE": str(pipes[1][0])}

    def call(*words: str) -> None:
        for end in ends:
            os.set_inheritable(end, True)
        with open(directory / "output", "ab") as output:
            process = one.runtime.user.start(
                *one.runtime.argv(*words), env=env, stdout=output, stderr=output, pass_fds=ends
            )
        assert process.wait(PATIENCE) == 0, (directory / "output").read_text()
        assert [holders(pipe) for pipe, _ in pipes] == [set(), set()], words

    pid_file = str(directory / "exec.pid")
    call("create", "--bundle", str(one.bundle), one.id)
    call("start", one.id)
    call("exec", "--detach", "--pid-file", pid_file, one.id, "sleep", "1238")
    call("pause", one.id)
    call("resume", one.id)
    call("kill", one.id, "HUP")
    call("delete", "--force", one.id)
    for end in ends:
        os.close(end)


# --- exec's pid file


def test_execs_pid_file_has_digits_only(container: MakeContainer, directory: Path) -> None:
    one = container("sh", "-c", TRAP).started()
    file = directory / "pid"
    with open(directory / "output", "wb") as output:
        words = one.runtime.argv("exec", "--detach", "--pid-file", str(file), one.id, "sleep", "1239")
        assert one.runtime.user.start(*words, stdout=output, stderr=output).wait(PATIENCE) == 0
    assert re.fullmatch(rb"[1-9][0-9]*", file.read_bytes())
    assert is_running(int(file.read_bytes()))


@pytest.mark.parametrize("detached", [True, False], ids=["detached", "attached"])
def test_an_exec_without_its_pid_file_fails(container: MakeContainer, directory: Path, detached: bool) -> None:
    one = container("sh", "-c", TRAP).started()
    one.wait_for_output(b"ready\n")
    before = descendants(1)
    words = ["exec", *(["--detach"] if detached else []), "--pid-file", "/nosuch/pid", one.id, "sleep", "1240"]
    done = one.runtime.run(*words)
    assert done.status == 255
    assert "can't write the pid file /nosuch/pid: No such file or directory" in done.stderr
    assert len(done.stderr.splitlines()) == 1

    def commands() -> str:
        return one.runtime.run("exec", one.id, "sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null; :").ok().stdout

    wait_until(lambda: "1240" not in commands(), "the process has gone")
    wait_until(lambda: not [pid for pid in descendants(1) - before if is_running(pid)], "its processes have gone")
    assert one.status() == "running"


# --- a start that takes its time


@pytest.fixture
def slow_srun(directory: Path, slurm_conf: Callable[..., Path]) -> tuple[Path, Path]:
    """A slurm.conf by which a container's step begins only when the other file is there."""
    conf, gate = slurm_conf(), directory / "open"
    program = directory / "srun"
    program.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *--container=*|*"--container "*) while [ ! -e {shlex.quote(str(gate))} ]; do sleep 0.05; done;; '
        'esac\nexec /usr/bin/srun "$@"\n'
    )
    program.chmod(0o755)
    with conf.with_name("oci.conf").open("a") as file:
        file.write(f"SrunPath={program}\n")
    return conf, gate


def begin_start(one: Container) -> subprocess.Popen[bytes]:
    """Call start, and wait until it waits for the step."""
    process = one.runtime.user.start(*one.runtime.argv("start", one.id))
    wait_until(lambda: one.record.get("step_pid"), "srun was called")
    return process


def test_slow_start_stalls_no_query(container: MakeContainer, slow_srun: tuple[Path, Path]) -> None:
    one = container("sh", "-c", TRAP).created(env={"SLURM_CONF": str(slow_srun[0])})
    starting = begin_start(one)
    for _ in range(3):
        assert one.state()["pid"] == int(one.pid_file.read_text())
    assert one.id in one.runtime.run("list", "--quiet").ok().stdout
    again = one.call("start")
    assert again.status == 1
    assert "not created" in again.stderr
    assert starting.poll() is None
    slow_srun[1].touch()
    assert starting.wait(PATIENCE) == 0
    one.wait_for_output(b"ready\n")


def test_exec_waits_for_a_slow_start(container: MakeContainer, slow_srun: tuple[Path, Path], directory: Path) -> None:
    one = container("sh", "-c", TRAP).created(env={"SLURM_CONF": str(slow_srun[0])})
    starting = begin_start(one)
    with open(directory / "said", "wb") as said:
        execing = one.runtime.user.start(*one.runtime.argv("exec", one.id, "echo", "there"), stdout=said, stderr=said)
    wait_until(lambda: "exec" in Path(f"/proc/{execing.pid}/cmdline").read_text(), "exec is called")
    slow_srun[1].touch()
    assert (execing.wait(PATIENCE), starting.wait(PATIENCE)) == (0, 0)
    assert (directory / "said").read_bytes() == b"there\n"


def test_slow_start_can_be_killed(container: MakeContainer, slow_srun: tuple[Path, Path]) -> None:
    one = container("sh", "-c", TRAP).created(env={"SLURM_CONF": str(slow_srun[0])})
    job = one.record["job"]
    starting = begin_start(one)
    one.call("kill", "KILL").ok()
    assert one.ended() == 137
    assert starting.wait(PATIENCE) == 1
    assert one.output == b""
    wait_until(lambda: job not in slurm.jobs(), "the job has gone")


def test_slow_start_can_be_deleted(container: MakeContainer, slow_srun: tuple[Path, Path]) -> None:
    one = container("sh", "-c", TRAP).created(env={"SLURM_CONF": str(slow_srun[0])})
    job = one.record["job"]
    starting = begin_start(one)
    one.call("delete", options=["--force"]).ok()
    assert not one.path.exists()
    assert starting.wait(PATIENCE) == 1
    wait_until(lambda: job not in slurm.jobs(), "the job has gone")
