"""What a container on another host can't have is said and no error; pipes serve where files do."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from .conftest import MakeContainer
from .engines import Engine
from .users import User
from .waiting import wait_until

PROCESS = {"args": ["sh", "-c", "echo hello; exit 7"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}}


@pytest.mark.slurm_only("it hands descriptors on")
def test_descriptors_that_reach_no_other_host_are_reported(container: MakeContainer) -> None:
    one = container("sleep", "1000")
    done = one.create("--preserve-fds", "2", env={"LISTEN_FDS": "1", "PATH": one.runtime.user.environment({})["PATH"]})
    assert done.status == 0
    warnings = [line for line in done.stderr.splitlines() if line.startswith("scrun: warning: ")]
    assert [line.split()[2] for line in warnings] == ["--preserve-fds", "LISTEN_FDS"]
    assert len(warnings) == len(done.stderr.splitlines())
    one.call("start").ok()
    said = one.call("exec", "true", options=("--preserve-fds=1", "--apparmor=x")).ok()
    assert [line.split()[2] for line in said.stderr.splitlines()] == ["--apparmor", "--preserve-fds"]
    assert one.call("exec", "true", options=("--preserve-fds=0",)).ok().stderr == ""
    refused = one.call("exec", "true", options=("--preserve-fds=many",))
    assert refused.stderr == "scrun: --preserve-fds 'many' is not a number of descriptors\n"


@pytest.mark.slurm_only("it hands descriptors on")
def test_podmans_user_hears_of_lost_descriptors(podman: Engine) -> None:
    name = podman.name()
    words = " ".join(podman.words("--preserve-fds=1", "--detach", command=("echo", "hello"), name=name))
    podman.user.run("sh", "-c", f"exec podman {words} 3</dev/null").ok()
    assert podman.exit_code(name) == 0
    logs = podman.call("logs", name)
    assert logs.stdout == "hello\n"
    assert "--preserve-fds 1 has no effect" in logs.stderr


def test_a_process_object_may_come_through_a_pipe(container: MakeContainer, alice: User, directory: Path) -> None:
    one = container("sleep", "1000").started()
    text = json.dumps(PROCESS)
    call = " ".join(one.runtime.argv("exec", "--process", '<(sleep 0.3; printf %s "$1")', one.id))
    done = alice.run("bash", "-c", call, "bash", text)
    assert (done.status, done.stdout) == (7, "hello\n"), done.stderr
    fifo = directory / "fifo"
    os.mkfifo(fifo)
    fifo.chmod(0o666)
    with subprocess.Popen(["sh", "-c", f'sleep 0.3; printf %s "$1" >{fifo}', "sh", text]):
        done = alice.run(*one.runtime.argv("exec", "--process", str(fifo), one.id))
    assert (done.status, done.stdout) == (7, "hello\n"), done.stderr


@pytest.mark.parametrize(
    ("config", "more"),
    [('<(sleep 0.3; printf %s "$1")', ""), ("/dev/stdin", '<<<"$1"'), ("/dev/fd/3", '3<<<"$1"')],
    ids=["pipe", "stdin", "descriptor"],
)
def test_a_config_may_come_through_a_pipe(container: MakeContainer, alice: User, config: str, more: str) -> None:
    one = container("sh", "-c", "echo up >/up; exec sleep 1000")
    file = one.bundle / "config.json"
    text = file.read_text()
    file.unlink()
    argv = one.runtime.argv("run", "--detach", "--bundle", str(one.bundle), "--config", config, one.id)
    alice.run("bash", "-c", f"{' '.join(argv)} {more}", "bash", text).ok()
    wait_until((one.bundle / "rootfs/up").exists, "it runs")
    assert one.call("exec", "echo", "hello").ok().stdout == "hello\n"
    one.call("delete", options=("--force",)).ok()
    assert not one.path.exists()


def test_kill_all_after_the_end_is_no_error(container: MakeContainer) -> None:
    one = container("true").started()
    assert one.ended() == 0
    one.wait_for("stopped")
    for number in ("0", "TERM", "KILL"):
        assert one.call("kill", number, options=("-a",)).ok().stderr == ""
        assert one.call("kill", number).status == 1
