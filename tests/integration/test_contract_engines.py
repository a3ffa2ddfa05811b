"""What docker, rootless docker and podman need of a runtime while they wait for it, or for its job."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import slurm
from .engines import Engine, network
from .processes import descendants, is_running
from .users import User
from .waiting import PATIENCE, wait_until

slurms_own = pytest.mark.slurm_only("there is no job")

QUEUED = ("-e", "SCRUN_JOB_NODELIST=node2", "-e", "SCRUN_CREATE_TIMEOUT=1")
DEAF = ("sh", "-c", "trap '' TERM INT HUP QUIT; echo ready; while :; do sleep 0.1; done")


@pytest.fixture
def queued(engine: Engine, held_node: int) -> str:
    """A container that an engine has started, and whose job waits."""
    before = slurm.jobs()
    name = engine.detached("sh", "-c", "echo on $SLURMD_NODENAME; exit 7", options=QUEUED)
    (job,) = slurm.jobs() - before
    assert slurm.job_fields(job)["JobState"] == "PENDING"
    return name


def queued_jobs() -> set[int]:
    """The jobs that wait for a node."""
    return {int(line) for line in slurm.squeue("--states=PENDING", "--format=%A")}


# --- a job that is queued


@slurms_own
def test_a_queued_container_is_known_to_its_engine(engine: Engine, queued: str) -> None:
    state = engine.inspect(queued)["State"]
    assert (state["Status"], state["Running"]) == ("running", True)
    assert is_running(state["Pid"])
    assert queued in engine.call("ps", "--format", "{{.Names}}").ok().stdout.split()
    done = engine.call("logs", queued).ok()
    assert done.output == b""
    done = engine.call("exec", queued, "true")
    assert done.status != 0
    assert "container not running: its job" in done.stdout + done.stderr  # docker writes it to the process's output
    assert engine.is_running(queued)


@slurms_own
@pytest.mark.parametrize(
    ("words", "status"), [(("stop", "--time=20"), 143), (("kill",), 137), (("kill", "--signal=HUP"), 129)], ids=str
)
def test_a_queued_container_is_ended_with_its_job(
    engine: Engine, queued: str, words: tuple[str, ...], status: int
) -> None:
    assert queued_jobs()
    engine.call(*words, queued).ok()
    assert engine.exit_code(queued) == status
    wait_until(lambda: not queued_jobs(), "the job has gone")
    assert engine.call("logs", queued).output == b""


@slurms_own
def test_a_queued_container_is_removed_with_its_job(engine: Engine, queued: str) -> None:
    engine.remove(queued).ok()
    wait_until(lambda: not queued_jobs(), "the job has gone")
    assert engine.call("inspect", queued).status != 0


@slurms_own
def test_a_queued_container_runs_when_its_job_does(engine: Engine, queued: str, held_node: int) -> None:
    slurm.release(held_node)
    assert engine.exit_code(queued) == 7
    assert engine.call("logs", queued).output == b"on node2\n"


@slurms_own
def test_queued_containers_log_reports_its_cancelled_job(engine: Engine, queued: str) -> None:
    (job,) = queued_jobs()
    slurm.cancel(job)
    assert engine.exit_code(queued) not in (0, 7)
    said = [line for line in engine.call("logs", queued).stderr.splitlines() if f"job {job}" in line]
    assert len(said) == 2, "that it is queued, and that it was cancelled"
    assert "cancelled" in said[-1]


@slurms_own
def test_container_created_in_the_queue_starts_later(engine: Engine, held_node: int) -> None:
    name = engine.name()
    words = engine.words(*QUEUED, command=("sh", "-c", "exit 7"), name=name)
    engine.call("create", *words[1:]).ok()
    engine.call("start", name).ok()
    assert engine.is_running(name)
    slurm.release(held_node)
    assert engine.exit_code(name) == 7


@slurms_own
def test_a_queued_container_in_the_foreground_is_interrupted(engine: Engine, held_node: int) -> None:
    # docker run passes the signal on to the container, which is the job.
    name = engine.name()
    process = engine.user.start(
        engine.program, *engine.words(*QUEUED, command=("sleep", "1000"), name=name), env=engine.env
    )
    wait_until(lambda: engine.call("inspect", name).status == 0 and engine.is_running(name), "it is started")
    process.terminate()
    assert process.wait(PATIENCE) == 143
    wait_until(lambda: not queued_jobs(), "the job has gone")


@slurms_own
def test_engine_answers_while_create_waits_for_its_job(engine: Engine, held_node: int) -> None:
    other, name = engine.name(), engine.name()
    engine.call("create", *engine.words(command=("true",), name=other)[1:]).ok()
    words = engine.words(*QUEUED[:3], "SCRUN_CREATE_TIMEOUT=40", command=("sh", "-c", "exit 7"), name=name)
    process = engine.user.start(engine.program, *words, env=engine.env)
    wait_until(queued_jobs, "its job is queued")
    engine.call("inspect", other).ok()
    if not engine.is_podman:  # which keeps its lock on a container that it creates, whatever the runtime
        engine.call("ps", "--all").ok()
    assert process.poll() is None
    slurm.release(held_node)
    assert process.wait(PATIENCE) == 7


# --- what does not listen


@pytest.mark.parametrize("words", [("kill",), ("rm", "--force")], ids=" ".join)
def test_what_ignores_signals_is_ended(engine: Engine, words: tuple[str, ...]) -> None:
    before = slurm.jobs()
    name = engine.detached(*DEAF, ready="ready")
    pid = engine.inspect(name)["State"]["Pid"]
    engine.call("kill", "--signal=TERM", name).ok()
    assert engine.is_running(name)
    done = engine.remove(name) if words[0] == "rm" else engine.call(*words, name)
    done.ok()
    if words[0] == "kill":
        assert engine.exit_code(name) == 137
    wait_until(lambda: not is_running(pid), "its process has gone")
    wait_until(lambda: slurm.jobs() <= before, "its job has gone")


def test_killing_an_engines_pid_ends_the_job(engine: Engine) -> None:
    # dockerd does so when the runtime's kill has had no effect for 10 s.
    before = slurm.jobs()
    name = engine.detached(*DEAF, ready="ready")
    os.kill(engine.inspect(name)["State"]["Pid"], 9)
    assert engine.exit_code(name) == 137
    wait_until(lambda: slurm.jobs() <= before, "its job has gone")


# --- a start that takes its time


@pytest.fixture
def slow_srun(root: User, oci_conf: Callable[[str], None]) -> Iterator[Path]:
    """A container's step begins only when this file is there."""
    directory = root.mkdir(Path(f"/home/scrun-tests-srun-{os.getpid()}"))
    gate, program = directory / "open", directory / "srun"
    program.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *--container*) while [ ! -e {shlex.quote(str(gate))} ]; do sleep 0.05; done;; esac\n'
        'exec /usr/bin/srun "$@"\n'
    )
    program.chmod(0o755)
    oci_conf(f"{Path('/etc/slurm/oci.conf').read_text()}\nSrunPath={program}\n")
    yield gate
    program.unlink()
    gate.unlink(missing_ok=True)  # no start came where the engine is skipped
    directory.rmdir()


@slurms_own
def test_engine_answers_during_a_slow_start(slow_srun: Path, engine: Engine) -> None:
    other, name = engine.name(), engine.name()
    engine.call("create", *engine.words(command=("true",), name=other)[1:]).ok()
    words = engine.words("--detach", command=("sleep", "1000"), name=name)
    process = engine.user.start(engine.program, *words, env=engine.env)
    try:
        root = "/run/docker/runtime-runc/moby" if engine.user.name == "root" else f"/run/user/{engine.user.uid}"
        state = Path(wait_until(lambda: starting_record(Path(root)), "srun was called") or "")
        assert process.poll() is None
        engine.call("inspect", other).ok()
        if not engine.is_podman:  # which keeps its lock on a container that it starts, whatever the runtime
            engine.call("ps", "--all").ok()
        asked = engine.user.run("scrun", "--root", str(state.parent.parent), "state", state.parent.name).ok()
        assert json.loads(asked.output)["status"] == "running"
    finally:
        slow_srun.touch()
        status = process.wait(PATIENCE)
    assert status == 0
    assert engine.is_running(name)


def starting_record(root: Path) -> Path | None:
    """The state.json of a container whose srun was called and has no step yet."""
    for path in root.rglob("state.json"):
        with contextlib.suppress(OSError, ValueError):
            record: dict[str, Any] = json.loads(path.read_bytes())
            if record.get("step_pid") and not record.get("step"):
                return path
    return None


# --- exec


def test_exec_in_a_missing_directory(engine: Engine) -> None:
    name = engine.detached("sleep", "1000")
    done = engine.call("exec", "--workdir", "/nosuch", name, "true")
    assert done.status == engine.exec_status(127), done
    assert engine.is_running(name)


# --- network


@pytest.mark.parametrize("options", [(), ("--network=none",), ("--network=host",)], ids=" ".join)
def test_no_engine_harms_the_hosts_network(engine: Engine, options: tuple[str, ...]) -> None:
    before = network()
    name = engine.detached("sleep", "1000", options=options)
    pid = engine.inspect(name)["State"]["Pid"]
    if options == ("--network=none",):
        assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
    assert network() == before
    engine.remove(name).ok()
    assert network() == before


# --- conmon


def test_podmans_timeout_ends_the_container_and_its_job(podman: Engine) -> None:
    before = slurm.jobs()
    done = podman.run(*DEAF, options=("--timeout=3",))
    assert done.status == 255  # conmon's
    assert done.output == b"ready\n"
    wait_until(lambda: slurm.jobs() <= before, "its job has gone")
    assert not podman.is_running(podman.made[-1])


@slurms_own
def test_podmans_timeout_ends_what_is_queued(podman: Engine, held_node: int) -> None:
    done = podman.run("true", options=("--timeout=3", *QUEUED))
    assert done.status == 255
    wait_until(lambda: not queued_jobs(), "its job has gone")


def pipes(pid: int) -> set[str]:
    """The pipes that a process has open."""
    found = set()
    with contextlib.suppress(OSError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(os.readlink(file))
    return {name for name in found if name.startswith("pipe:")}


@slurms_own
def test_only_conmons_output_pipes_are_held(podman: Engine) -> None:
    name = podman.detached("sleep", "1000")
    document = podman.inspect(name)
    path = Path(f"/run/user/{podman.user.uid}/scrun") / document["Id"] / "state.json"
    conmon = int(subprocess.run(["cat", document["ConmonPidFile"]], capture_output=True, check=True).stdout)
    anchor = json.loads(path.read_bytes())["anchor"]
    theirs = pipes(conmon)
    assert theirs
    for pid in {document["State"]["Pid"], anchor, *descendants(anchor)}:
        held = pipes(pid) & theirs
        assert len(held) <= 2, (pid, Path(f"/proc/{pid}/cmdline").read_text())  # its standard output and error
        if pid == document["State"]["Pid"]:
            assert not held
