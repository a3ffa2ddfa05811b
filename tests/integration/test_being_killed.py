"""A container that was told to end at once: nothing further is begun in it while its processes are still there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import MakeContainer
from .oci import Container
from .users import User

pytestmark = pytest.mark.slurm_only("kills at once")

CRUN = "crun --rootless=true --cgroup-manager=disabled --root=/run/user/%U/crun"


@pytest.fixture
def lingering(
    container: MakeContainer, slurm_conf: Callable[..., Path], directory: Path, alice: User
) -> Iterator[Container]:
    """A container that runs, on whose node SIGKILL takes its time."""
    conf = slurm_conf()
    waiting = f"while [ ! -e {directory}/killed ]; do sleep 0.05; done"
    script = f'#!/bin/sh\ncase " $* " in *" kill "*" 9 ") {waiting} ;; esac\nexec "$@"\n'
    runtime = alice.write(directory / "runtime", script, 0o755)
    with open(conf.with_name("oci.conf"), "a") as file:
        file.write(f'#scrun: NodeRuntime="{runtime} {CRUN}"\n')
    one = container("sh", "-c", "echo ready; exec sleep 1000")
    one.started(global_options=("-f", str(conf)))
    one.wait_for_output(b"ready")
    yield one
    (directory / "killed").touch()
    assert one.ended() == 137


def refused(one: Container, *argv: str) -> str:
    done = one.runtime.run(*argv)
    assert done.status
    return done.stderr


def test_nothing_is_begun_in_a_container_that_is_being_killed(lingering: Container) -> None:
    lingering.call("kill", "KILL").ok()
    for argv in (("exec", lingering.id, "true"), ("pause", lingering.id), ("update", "--time-limit=5", lingering.id)):
        assert "container not running: it is being killed" in refused(lingering, *argv)
    assert "it is being killed, not created" in refused(lingering, "start", lingering.id)
    assert lingering.status() == "running"  # its processes are there, as ps shows
    assert "sleep 1000" in lingering.call("ps").ok().stdout
    lingering.call("kill", "KILL").ok()  # engines send it twice


def test_one_that_was_paused_does_not_go_on(lingering: Container) -> None:
    lingering.call("pause").ok()
    lingering.call("kill", "KILL").ok()
    assert "container not paused: it is being killed" in refused(lingering, "resume", lingering.id)
    assert "container not running" in refused(lingering, "exec", "--ignore-paused", lingering.id, "true")
