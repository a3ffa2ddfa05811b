"""Homes that are closed to others, on a server that takes root for nobody: slurmstepd can't read a bundle there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from integration import slurm
from integration.conftest import MakeBundle, MakeContainer
from integration.engines import Engine
from integration.users import User


@pytest.fixture(autouse=True)
def _closed(alice: User) -> None:
    assert alice.home.stat().st_mode & 0o777 == 0o700


def test_slurms_own_containers_fail_there(bundle: MakeBundle, alice: User) -> None:
    path = bundle("true")
    done = alice.run("srun", f"--container={path}", "true")
    assert "Unspecified error" in done.stderr


def test_bundle_is_carried_and_its_files_are_not(container: MakeContainer) -> None:
    one = container("sh", "-c", "echo hello; echo changed >/changed")
    one.created()
    bundle = Path(one.record["job_bundle"])
    assert bundle.is_relative_to("/tmp")
    assert one.record["job_rootfs"] == str(one.bundle / "rootfs")
    assert one.record["staged"]["parts"] == []
    one.call("start").ok()
    assert one.ended() == 0
    assert one.output == b"hello\n"
    assert (one.bundle / "rootfs/changed").read_text() == "changed\n"
    one.call("delete").ok()
    assert slurm.on_nodes(f"ls -d {bundle} 2>/dev/null; :") == []


def test_it_is_found_out_once(container: MakeContainer) -> None:
    (container("true").runtime.root / ".seen-by-nodes.json").unlink(missing_ok=True)
    steps = []
    for _ in range(2):
        one = container("echo", "hello").started(env={"SCRUN_JOB_NODELIST": "node1"})
        steps.append(int(one.record["step"]))
        assert one.ended() == 0
    assert steps == [3, 1]  # behind scrun-probe, scrun-try and scrun-stage; behind scrun-stage
    known = json.loads((one.runtime.root / ".seen-by-nodes.json").read_text())
    assert any(key.startswith("node1 lets root not read") for key in known)


def test_an_engine_runs_there(podman: Engine) -> None:
    done = podman.run("sh", "-c", "echo hello; exit 7")
    assert (done.status, done.stdout) == (7, "hello\n")
