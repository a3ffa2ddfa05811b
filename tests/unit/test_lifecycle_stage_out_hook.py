"""The worker that runs stage_out: what it says and when, and what it leaves when the site's script fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scrun.lifecycle.anchor.worker import Worker
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.container.worker_messages import from_ending
from scrun.lifecycle.process.loop import Loop

Message = Any  # as a test makes it
HOOKS = """
function slurm_scrun_stage_in() return slurm.SUCCESS end
function slurm_scrun_stage_out(id, bundle, orig_bundle, root_path, orig_root_path, spool_dir, config_file, job_id)
    %s
end
"""


@pytest.fixture
def told(loop: Loop, container: Container, tmp_path: Path) -> Callable[[str], list[Message]]:
    """Have a worker run a stage_out of that body; what it said. The job is somebody else's, so it stays."""
    (tmp_path / "spool").mkdir()
    record = {**container.record, "job": 7, "nodes": "n1", "user": "u", "uid": 1, "group": "g", "gid": 2}
    record |= {"job_bundle": "/new", "job_rootfs": "/new/rootfs", "srun": ["/bin/false"]}
    record |= {"staged": {"bundle": "/new", "rootfs": "/new/rootfs", "spool": str(tmp_path / "spool")}}
    plan: Message = {"oci_version": "1.2.0", "pid_file": "", "spool_dir": "/s", "config_file": "/c", "log_file": ""}
    plan |= {"log_format": "text", "srun": ["/bin/false"]}

    def run(body: str) -> list[Message]:
        (tmp_path / "scrun.lua").write_text(HOOKS % body)
        said: list[Message] = []
        worker = Worker(loop, container, "stage out", from_ending, said=said.append, ended=loop.stop)
        order: Message = {"script": str(tmp_path / "scrun.lua"), "lua": "5.4", "record": record, "staging": plan}
        worker.send(order)
        worker.send({"keep_job": True})
        loop.run()
        return said

    return run


Told = Callable[[str], list[Message]]


def test_it_tells_when_the_script_begins_and_ends(told: Told) -> None:
    assert told("slurm.log_info(bundle) return slurm.SUCCESS") == [
        {"begun": True},
        {"log": "info", "message": "/new"},
        {"staged_out": True},
    ]


def test_scrun_removes_its_files_when_the_script_says(told: Told, tmp_path: Path) -> None:
    assert told("scrun.stage_out() return slurm.SUCCESS")[-1] == {"staged_out": True}
    assert not (tmp_path / "spool").exists()


def test_files_the_script_leaves_are_not_removed(told: Told, tmp_path: Path) -> None:
    told("return slurm.SUCCESS")
    assert (tmp_path / "spool").exists()


def test_a_failed_script_leaves_nothing_here(told: Told, tmp_path: Path) -> None:
    begun, failure = told("return slurm.ERROR, 'no'")
    assert begun == {"begun": True}
    assert failure["error"] == "HookError"
    assert failure["message"].endswith("(slurm.ERROR): no")
    assert not (tmp_path / "spool").exists()
