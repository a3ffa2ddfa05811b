"""A site whose TaskProlog, TaskEpilog and SPANK plugin print in every task: scrun's own steps are tasks as well."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from .conftest import MakeBundle, MakeContainer
from .engines import Engine
from .oci import Container
from .waiting import wait_until

pytestmark = pytest.mark.slurm_only("has no site")

PROFILE = Path("/src/devcluster/profiles/noisy/image")
STEERING = [
    *("copy: task done: ok", "srun: error: node1: task x: Killed", "srun: Job step aborted", "srun: Node started"),
    *("srun: launching StepId=1.77 on host node1, 1 tasks: 0", "srun: node1: task 0: Completed"),
]
PLUGSTACK = Path("/etc/slurm/plugstack.conf.d/noise.conf")
LIBRARY, CHATTY_PROLOG, CHATTY_EPILOG = (Path(f"/home/.noise{suffix}") for suffix in (".so", "-prolog", "-epilog"))
CONF = Path("/etc/slurm/slurm.conf")


def everywhere(script: str) -> None:
    """Run the shell script on all hosts, whatever they print."""
    subprocess.run(["sh", "-c", script], timeout=60, check=True)
    subprocess.run(["srun", "--nodes=2", "--ntasks-per-node=1", "sh", "-c", script], timeout=60, check=True)


def noise() -> int:
    done = subprocess.run(["srun", "--nodes=2", "true"], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.count("Welcome") + done.stdout.count("a plugin, in")


@pytest.fixture
def _noisy_site() -> Iterator[None]:
    subprocess.run(["cc", "-shared", "-fPIC", "-o", LIBRARY, PROFILE / "noise.c"], timeout=60, check=True)
    for path, name in ((CHATTY_PROLOG, "prolog"), (CHATTY_EPILOG, "epilog")):
        shutil.copy(PROFILE / name, path)
    everywhere(
        f"cp {CONF} {CONF}.quiet; printf 'TaskProlog={CHATTY_PROLOG}\nTaskEpilog={CHATTY_EPILOG}\n' >>{CONF}; "
        f"echo required {LIBRARY} >{PLUGSTACK}"
    )
    subprocess.run(["scontrol", "reconfigure"], timeout=60, check=True)
    wait_until(lambda: noise() == 4, "both nodes have read it")
    yield
    everywhere(f"rm {PLUGSTACK}; mv {CONF}.quiet {CONF}")
    subprocess.run(["scontrol", "reconfigure"], timeout=60, check=True)
    wait_until(lambda: noise() == 0, "both nodes are quiet again")
    for path in (LIBRARY, CHATTY_PROLOG, CHATTY_EPILOG):
        path.unlink()


@pytest.mark.usefixtures("_noisy_site")
def test_site_output_in_every_task_is_no_answer(
    container: MakeContainer, private_bundle: MakeBundle, docker: Engine, directory: Path
) -> None:
    check_answers(container, private_bundle, docker, directory)


def check_answers(container: MakeContainer, private_bundle: MakeBundle, docker: Engine, directory: Path) -> None:
    """All that asks nodes for something gets the right answer."""
    volume = ("--rm", "--volume", "noise-volume:/data")
    docker.run("sh", "-c", "echo one >/data/file", options=volume).ok()
    done = docker.run("sh", "-c", "cat /data/file; echo two >>/data/file; exit 7", options=volume)
    assert (done.status, "one\n" in done.stdout) == (7, True)
    assert "one\ntwo\n" in docker.run("cat", "/data/file", options=volume).ok().stdout
    docker.call("volume", "rm", "noise-volume").ok()
    name = docker.detached("sleep", "1000")
    assert "in it\n" in docker.call("exec", name, "echo", "in it").ok().stdout
    for options in ((), ("--detach",)):
        done = docker.call("exec", *options, name, "nosuch")
        assert "nosuch` not found" in done.stderr + done.stdout

    # This one runs here, and srun's own words go where its words go.
    prolog = directory / "prolog"
    prolog.write_text(f"#!/bin/sh\nfor to in 1 2; do printf '%s\\n' {shlex.join(STEERING)} >&$to; done\n")
    prolog.chmod(0o755)
    trap = "sleep 1000 & trap 'echo changed >/changed; exit 42' USR1; echo up; while :; do sleep 0.1; done"

    def is_up(one: Container, nodes: int) -> bool:
        return one.output.count(b"up\n") == nodes

    for nodes in (1, 2):
        env = {"SCRUN_JOB_NUM_NODES": str(nodes), "SCRUN_PROLOG": str(prolog)}
        one = container(at=private_bundle("sh", "-c", trap)).started(env=env)
        wait_until(partial(is_up, one, nodes), "all tasks run")
        assert len(json.loads(one.call("ps", options=["--format=json"]).ok().stdout)) >= 2 * nodes
        data = json.loads(one.call("events", options=["--stats"]).ok().stdout)["data"]
        assert data["pids"]["current"] >= 2 * nodes
        one.call("pause").ok()
        assert one.status() == "paused"
        one.call("resume").ok()
        one.call("kill", "0").ok()
        one.call("kill", "USR1").ok()
        assert one.ended() == 42
        assert (one.bundle / "rootfs/changed").read_text() == "changed\n"
        one.call("delete").ok()
    assert container("true").started().ended() == 0
