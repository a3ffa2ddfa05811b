"""The step that has carried the files stands by, and brings back what a short container has changed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from test_staging_bring_back import Run, TwoNodes
from test_staging_node import FakeStep, Notes, as_it_is, bundle, make_container, needs_mounts, on_node

from scrun.errors import StagingError
from scrun.staging import place
from scrun.staging.stage_in import stage_in
from scrun.staging.stage_out import stage_out

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["bundle"]

pytestmark = needs_mounts

LITTLE, MUCH = b"changed", os.urandom(1 << 20)


@pytest.mark.parametrize("content", [LITTLE, MUCH], ids=["through srun", "over a connection"])
def test_it_brings_back_changes(tmp_path: Path, bundle: Path, content: bytes) -> None:
    run = Run(tmp_path, bundle, stands=True)
    (run.there / "rootfs/made").write_bytes(content)
    (run.there / "rootfs/etc/passwd").unlink()
    before = len(run.step.started)
    run.out()
    assert (run.rootfs / "made").read_bytes() == content
    assert not (run.rootfs / "etc/passwd").exists()
    assert len(run.step.started) == before, "no other step was needed"
    assert run.step.standing is None


def test_it_stands_by_after_one_file_too(tmp_path: Path, bundle: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    (private / "file").write_bytes(b"before" * 30_000)
    step, notes = FakeStep(tmp_path, hidden=[private]), Notes()
    mount = {"destination": "/file", "source": f"{private}/file", "type": "bind", "options": ["bind", "rw"]}
    container = make_container(bundle, step, mounts=[mount])
    staged = stage_in(container, step, adapt=as_it_is, log=notes)
    assert step.standing
    before = len(step.started)
    (part,) = [part for part in staged.parts if part.source == f"{private}/file"]
    (on_node(step) / part.name).write_bytes(b"after" * 30_000)
    stage_out(container, staged, step, log=notes)
    assert (private / "file").read_bytes() == b"after" * 30_000
    assert len(step.started) == before
    assert not on_node(step).exists()


def test_empty_directories_of_slurms_are_no_change(tmp_path: Path, bundle: Path) -> None:
    run = Run(tmp_path, bundle, stands=True)
    there = run.there / "rootfs"
    (there / "spool/of slurm").mkdir(parents=True)
    (there / "kept/spool").mkdir(parents=True)
    (there / "kept/file").touch()
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "spool").mkdir(parents=True)
    (there / "link").symlink_to(elsewhere)
    left = ("spool/of slurm", "spool", "kept/spool", "kept", "link/spool", "never/made")
    stage_out(run.container, run.staged, run.step, log=run.notes, left=left)
    assert not (run.rootfs / "spool").exists()
    assert os.listdir(run.rootfs / "kept") == ["file"]
    assert (elsewhere / "spool").is_dir(), "the container had put a link in the way"


def test_another_step_does_it_when_it_has_gone(tmp_path: Path, bundle: Path) -> None:
    run = Run(tmp_path, bundle, stands=True)
    (run.there / "rootfs/made").touch()
    assert run.step.standing
    process = run.step.standing._child.process
    process.kill()
    process.wait()
    run.out()
    assert (run.rootfs / "made").exists()


def test_another_step_does_it_when_it_ends_meanwhile(tmp_path: Path, bundle: Path) -> None:
    run = Run(tmp_path, bundle, stands=True)
    (run.there / "rootfs/made").touch()
    before = len(run.step.started)
    assert run.step.standing
    os.write(run.step.standing._orders, b"no such order\n")  # ends the script, perhaps after it was looked at
    run.out()
    assert (run.rootfs / "made").exists()
    assert len(run.step.started) == before + 1
    assert run.notes.at("error") == ""


def test_a_second_carry_ends_the_first(tmp_path: Path, bundle: Path) -> None:
    run = Run(tmp_path, bundle, stands=True)
    first = run.step.standing
    assert first
    stage_in(run.container, run.step, adapt=as_it_is, log=run.notes)
    assert run.step.standing is not first
    assert first._child.process.wait() == 0


def test_none_stands_by_on_several_nodes(tmp_path: Path, bundle: Path) -> None:
    it = TwoNodes(tmp_path, bundle)
    assert it.step.standing is None
    assert it.out() == ""


def test_a_step_may_be_started_early(tmp_path: Path, bundle: Path) -> None:
    step, notes = FakeStep(tmp_path, hidden=[bundle]), Notes()
    place.start_early(step)
    assert len(step.started) == 1
    container = make_container(bundle, step)
    stage_in(container, step, adapt=as_it_is, log=notes)
    assert step.early is None
    assert step.standing, "it is that step"
    assert sum(argv[3] == place.SCRIPT for argv in step.started) == 1
    assert (on_node(step) / "rootfs/etc/passwd").exists()


def test_an_early_step_that_has_ended_is_told(tmp_path: Path, bundle: Path) -> None:
    step = FakeStep(tmp_path, hidden=[bundle])
    step.prefix = ["sh", "-c", "echo 'srun: error: no' >&2; exit 3"]
    place.start_early(step)
    step.prefix = []
    with pytest.raises(StagingError, match=r"node1: staging failed with status [13]: srun: error: no"):
        stage_in(make_container(bundle, step), step, adapt=as_it_is, log=Notes())


def test_an_early_step_without_orders_leaves_nothing(tmp_path: Path) -> None:
    step = FakeStep(tmp_path)
    place.start_early(step)
    assert step.early
    process = step.early._child.process
    step.early.close()
    assert process.wait() == 0
    assert os.listdir(step.own_dir("node1")) == []


@pytest.mark.parametrize("word", ["two\nlines", "."])
def test_a_name_no_line_holds_is_refused(word: str) -> None:
    with pytest.raises(StagingError, match="no step can be told such a name"):
        place.arguments(["/tmp", word])
