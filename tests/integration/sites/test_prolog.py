"""A slow Prolog and Epilog, run when the job is allocated (PrologFlags=Contain); a Prolog that fails, and where."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from integration import slurm
from integration.conftest import MakeContainer
from integration.engines import Engine
from integration.test_bad_bundle import assert_refused
from integration.waiting import wait_until

FAILS = {"SCRUN_COMMENT": "fail on node1", "SCRUN_JOB_NODELIST": "node1"}  # devcluster/profiles/prolog
WORDS = ("node1 (Prolog error)", "out of service", "sinfo -R")


def _state(node: str) -> str:
    command = ["sinfo", "--noheader", f"--nodes={node}", "--partition=debug", "--format=%T"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()


@pytest.fixture
def _drained() -> Iterator[None]:
    """The node that a failed Prolog has taken out of service is in service again after the test."""
    yield
    wait_until(lambda: _state("node1") == "drained", "node1 is drained, and its job has gone")
    subprocess.run(["scontrol", "update", "nodename=node1", "state=resume"], timeout=30, check=True)
    wait_until(lambda: _state("node1") == "idle", "node1 is back")


@pytest.mark.usefixtures("_drained")
def test_create_reports_a_failing_prolog_and_its_node(container: MakeContainer) -> None:
    one = container("true")
    (one.runtime.root / ".seen-by-nodes.json").unlink(missing_ok=True)  # so that the nodes are asked by create
    assert_refused(one.create(env=FAILS), *WORDS)
    assert not one.path.exists()


@pytest.mark.usefixtures("_drained")
def test_start_reports_a_failing_prolog_and_its_node(container: MakeContainer) -> None:
    assert container("true").started(env={"SCRUN_JOB_NODELIST": "node1"}).ended() == 0  # what node1 sees is known now
    one = container("true").created(env=FAILS)
    assert_refused(one.call("start"), *WORDS)
    assert one.ended() == 125
    assert b"no exit status" not in one.errors


@pytest.mark.usefixtures("_drained")
def test_an_engine_shows_it(podman: Engine) -> None:
    podman.env = {**(podman.env or {}), **FAILS}
    done = podman.run("true", options=("--rm",))
    assert done.status in (125, 126)
    assert all(word in done.stderr for word in WORDS), done.stderr


def test_the_job_has_its_extern_step(container: MakeContainer) -> None:
    one = container("sleep", "1000").started()
    job = one.record["job"]
    assert {*slurm.steps(job)} >= {f"{job}.extern", f"{job}.{one.record['step']}"}
    one.call("kill", "KILL").ok()
    assert one.ended() == 137
