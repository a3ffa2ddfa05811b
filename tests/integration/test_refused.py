"""What the node's own runtime refuses to run is told apart from a process that ends with the same status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .conftest import MakeBundle, MakeContainer
from .engines import Engine, at_a_terminal
from .oci import Container, Runtime
from .sessions import LINGER
from .test_oci_conf import RUNC

pytestmark = pytest.mark.slurm_only("refuses it at create")

NOT_RUN = "the container's process was not run: node"


def odd_mount(config: dict[str, Any]) -> None:
    """A file system that no kernel has."""
    config["mounts"].append({"destination": "/odd", "type": "nosuchfs", "source": "none"})


def assert_not_run(one: Container) -> None:
    """Start tells what the node's runtime said, and the container has the status of one that was not run."""
    done = one.call("start")
    assert done.status == 1
    assert NOT_RUN in done.stderr
    assert "no such device" in done.stderr.lower()
    assert len(done.stderr.splitlines()) == 1
    assert (one.ended(), one.errors) == (125, b"")


def test_start_says_the_reason(container: MakeContainer) -> None:
    assert_not_run(container("true", change=odd_mount).created())


def test_refusal_is_reported_with_carried_files_too(container: MakeContainer, private_bundle: MakeBundle) -> None:
    assert_not_run(container(at=private_bundle("true", change=odd_mount)).created())
    one = container(at=private_bundle("sh", "-c", "exit 7")).started()
    assert (one.ended(), one.errors) == (7, b"")


def test_it_is_told_with_runc(container: MakeContainer, oci_conf: Callable[[str], None]) -> None:
    oci_conf(RUNC)
    assert_not_run(container("true", change=odd_mount).created())
    one = container("sh", "-c", "exit 7").started()
    assert (one.ended(), one.errors) == (7, b"")


def test_docker_shows_what_its_ulimit_met(docker: Engine) -> None:
    done = docker.run("true", options=("--ulimit", "nofile=2000000000"))
    assert done.status == 125
    assert "the node can't set RLIMIT_NOFILE: operation not permitted" in done.stderr


def test_at_a_terminal_too(docker: Engine) -> None:
    words = docker.words("--rm", "-t", "--ulimit", "nofile=2000000000", command=("true",))
    status, screen = docker.at_a_terminal(*words, typed={})
    assert status == 125
    assert "the node can't set RLIMIT_NOFILE: operation not permitted" in screen


@pytest.mark.parametrize("change", [None, odd_mount])
def test_at_a_persons_terminal_too(runtime: Runtime, bundle: MakeBundle, change: Callable[[Any], None] | None) -> None:
    path = bundle("sh", "-c", f"echo it is $((40 + 2)); {LINGER}; exit 7", terminal=True, change=change)
    argv = runtime.argv("run", "--bundle", str(path), "at-a-terminal")
    status, screen = at_a_terminal(runtime.user, *argv, typed={"it is 42": b"\n"})
    assert (status, "it is 42" in screen, NOT_RUN in screen) == ((125, False, True) if change else (7, True, False))


# --- a status that a process had is never another


@pytest.mark.parametrize("status", [1, 125, 127])
def test_process_that_ran_has_its_own_status(container: MakeContainer, status: int) -> None:
    one = container("sh", "-c", f"exit {status}").started()
    assert (one.ended(), one.errors) == (status, b"")


def test_nor_of_several_tasks(container: MakeContainer) -> None:
    one = container("sh", "-c", 'exit "$SLURM_PROCID"').started(env={"SCRUN_NTASKS": "2", "SCRUN_JOB_NUM_NODES": "2"})
    assert one.ended() == 1
    assert NOT_RUN.encode() not in one.errors
