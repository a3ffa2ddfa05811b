"""docker top and podman top: never this host's processes; podman cp: never its files."""

from __future__ import annotations

import json
import os
import signal
import uuid
from pathlib import Path

import pytest

from . import engines, slurm
from .conftest import RUNTIME, MakeContainer
from .engines import Engine
from .users import User
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("the processes are here")

# What runs on this host and in no container; that of a host's own ps(1) these would be.
OF_THE_HOST = ("dockerd", "conmon", "munged", "containerd", "slurmctld", "/srun ", "sleep infinity")


@pytest.mark.parametrize("name", ["docker", "rootless docker"])
@pytest.mark.parametrize("options", [(), ("-o", "pid,args")], ids=["plain", "options"])
def test_docker_top_says_what_to_use_instead(
    name: str, options: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    users = (request.getfixturevalue("alice"), request.getfixturevalue("root"))
    engine = engines.make(name, RUNTIME, *users)
    try:
        done = engine.call("top", engine.detached("sleep", "60"), *options)
        assert (done.status, done.stdout) == (1, "")
        assert "the container's processes run on a node of Slurm" in done.stderr
        assert "use docker exec CONTAINER ps, or scrun ps" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    finally:
        engine.clean_up()


@pytest.mark.parametrize("user", ["alice", "root"])
def test_podman_top_says_where_to_look(user: str, request: pytest.FixtureRequest) -> None:
    engine = Engine("podman", request.getfixturevalue(user), "scrun")
    try:
        name = engine.detached("sleep", "60")
        container_id = engine.inspect(name)["Id"]
        header, row = engine.call("top", name).ok().stdout.splitlines()
        assert header.split()[-1] == "COMMAND"
        assert f"scrun ps {container_id}" in row
        assert f"podman exec {container_id[:12]} ps" in row
        (_, other) = engine.call("top", name, "pid", "comm", "hpid").ok().stdout.splitlines()
        assert not [word for word in OF_THE_HOST if word in row + other]
    finally:
        engine.clean_up()


def test_podman_top_with_options_of_ps_shows_the_containers_processes(podman: Engine) -> None:
    # podman runs ps in the container then, through exec; the image has busybox's.
    done = podman.call("top", podman.detached("sleep", "6011"), "-o", "pid,args").ok()
    assert "sleep 6011" in done.stdout
    assert not [word for word in OF_THE_HOST if word in done.stdout]


def test_root_who_copies_into_a_running_container_does_not_reach_this_host(root: User, tmp_path: Path) -> None:
    # podman joins the mount namespace of the pid file's process for it.
    engine = Engine("podman", root, "scrun")
    target = Path(f"/tmp/scrun-test-{uuid.uuid4().hex[:8]}")
    source = root.write(tmp_path / "secret", "secret\n")
    try:
        name = engine.detached("sleep", "60")
        for where in (str(target), "/made-by-cp"):
            done = engine.call("cp", str(source), f"{name}:{where}")
            assert done.status != 0
            assert not Path(where).exists()
        assert engine.call("cp", f"{name}:{source}", str(tmp_path / "copy")).status != 0
        assert engine.call("cp", f"{name}:/etc/passwd", str(tmp_path / "copy")).status != 0
        assert not (tmp_path / "copy").exists()
    finally:
        engine.clean_up()


def test_the_stand_in_of_a_podman_is_still_the_anchors_guard(podman: Engine) -> None:
    # It has a mount namespace of its own, and must still find what ends a job.
    name = podman.detached("sleep", "60")
    directory = Path(f"/run/user/{podman.user.uid}/scrun") / podman.inspect(name)["Id"]
    record = json.loads((directory / "state.json").read_bytes())
    os.kill(record["anchor"], signal.SIGKILL)
    assert podman.exit_code(name) == 137
    wait_until(lambda: record["job"] not in slurm.jobs(), "the job has gone")


def test_an_engines_call_finds_the_refusal_in_its_log(container: MakeContainer) -> None:
    one = container("sleep", "60").started()
    log = one.directory / "log.json"
    done = one.runtime.run("--log", str(log), "--log-format", "json", "ps", "--format", "json", one.id)
    assert (done.status, done.stdout) == (1, "")
    (entry,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert entry["level"] == "error"
    assert "use docker exec CONTAINER ps" in entry["msg"]
