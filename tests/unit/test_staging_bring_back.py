"""What the container changed comes back from the nodes that ran it, and nothing else happens here."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING

import pytest
from test_staging_node import (
    FakeStep,
    Notes,
    as_it_is,
    bind,
    bundle,
    describe,
    fill,
    is_root,
    make_container,
    needs_mounts,
    on_node,
)

from scrun.errors import StagingError
from scrun.staging.stage_in import stage_in
from scrun.staging.stage_out import discard, stage_out

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from scrun.staging.model import ContainerFiles, Staged

__all__ = ["bundle"]

pytestmark = [pytest.mark.slow, needs_mounts]


class Run:
    """A container that was staged to one node which doesn't see its bundle; with ``stands`` that step stands by."""

    def __init__(
        self, scratch: Path, bundle: Path, mounts: Sequence[Any] = (), *, stands: bool = False, **others: Any
    ) -> None:
        self.scratch, self.bundle = scratch, bundle
        hidden = [bundle, *(source for source in [scratch / "private"] if source.exists())]
        self.step = FakeStep(scratch, hidden=hidden)
        self.notes = Notes()
        self.container: ContainerFiles = make_container(bundle, self.step, mounts=mounts, **others)
        self.staged: Staged = stage_in(self.container, self.step, adapt=as_it_is, log=self.notes)
        if self.step.standing and not stands:
            self.step.end_standing()
        self.there = on_node(self.step)
        self.rootfs = bundle / "rootfs"

    def out(self, **options: Any) -> None:
        """Stage out, and see that nothing is left there."""
        stage_out(self.container, self.staged, self.step, log=self.notes, options=options)
        assert not self.there.exists()


def test_new_changed_and_deleted_files_come_back(tmp_path: Path, bundle: Path) -> None:
    root = bundle / "rootfs"
    fill(root)
    if not is_root:
        (root / "nothing").unlink()
    (root / "old" / "deep" / "er").mkdir(parents=True)
    (root / "old" / "deep" / "file").touch()
    (root / "becomes-file").mkdir()
    (root / "becomes-file" / "x").touch()
    (root / "becomes-dir").touch()
    (root / "a").mkdir()
    (root / "a" / "same-name").write_text("a's")
    (root / "b").mkdir()
    (root / "b" / "same-name").write_text("b's")
    run = Run(tmp_path, bundle)
    there = run.there / "rootfs"

    fill_more = there / "made by the container"
    fill_more.mkdir()
    fill(fill_more)
    (there / "etc" / "passwd").write_text("changed\n")
    (there / "with space").unlink()
    shutil.rmtree(there / "old")
    shutil.rmtree(there / "becomes-file")
    (there / "becomes-file").write_text("file")
    (there / "becomes-dir").unlink()
    (there / "becomes-dir").mkdir(mode=0o750)
    (there / "becomes-dir" / "y").touch()
    (there / "setuid").chmod(0o711)
    (there / "dangling").unlink()
    (there / "dangling").symlink_to("elsewhere")
    (there / "closed").chmod(0o755)
    (there / "closed" / "inside").write_text("opened")
    (there / "closed" / "other").touch()
    (there / "closed").chmod(0o555)
    (there / ("d" * 60)).rename(there / "renamed directory")
    for source, target in (("a", "t"), ("b", "a"), ("t", "b")):
        (there / source).rename(there / target)
    os.utime(there / "etc", ns=(5, 5_000_000_007))
    wanted = describe(there)

    run.out()
    assert describe(run.rootfs) == wanted
    assert (run.rootfs / "made by the container/sparse").stat().st_blocks < 1000
    assert run.notes.at("error") == ""
    assert len(run.step.started) == 3, "probe, transfer, and one step that brings back and cleans up"


def test_unchanged_files_are_neither_sent_nor_touched(tmp_path: Path, bundle: Path) -> None:
    run = Run(tmp_path, bundle)
    before = (run.rootfs / "etc/passwd").stat()
    (run.there / "rootfs/new").touch()
    run.out()
    after = (run.rootfs / "etc/passwd").stat()
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)
    assert (run.rootfs / "new").exists()


def test_file_that_came_up_here_meanwhile_is_kept(tmp_path: Path, bundle: Path) -> None:
    run = Run(tmp_path, bundle)
    (run.rootfs / "etc" / "meanwhile").write_text("here")
    shutil.rmtree(run.there / "rootfs/etc")
    run.out()
    assert os.listdir(run.rootfs / "etc") == ["meanwhile"]


def test_only_writable_volumes_come_back(tmp_path: Path, bundle: Path) -> None:
    private = tmp_path / "private"
    for name in ("writable", "readonly"):
        (private / name).mkdir(parents=True)
        (private / name / "file").write_text("before")
    (private / "large").write_bytes(b"before" * 20_000)
    mounts = [
        bind(private / "writable", "/w"),
        bind(private / "readonly", "/r", "ro"),
        bind(private / "large", "/large"),
    ]
    run = Run(tmp_path, bundle, mounts, readonly=True)
    inode = (private / "large").stat().st_ino
    for index in (0, 1):
        (run.there / f"mounts/{index}/file").write_text("after")
    (run.there / "mounts/2").write_bytes(b"after" * 30_000)
    (run.there / "rootfs/new").touch()
    run.out()
    assert (private / "writable/file").read_text() == "after"
    assert (private / "readonly/file").read_text() == "before"
    assert (private / "large").read_bytes() == b"after" * 30_000
    assert (private / "large").stat().st_ino == inode, "the file itself is what others have mounted"
    assert not (run.rootfs / "new").exists(), "the root filesystem was read-only"


class TwoNodes:
    """A container that was carried to two nodes; ``first`` and ``second`` are its root filesystem there."""

    def __init__(self, scratch: Path, bundle: Path) -> None:
        self.step, self.notes = FakeStep(scratch, ["node1", "node2"], hidden=[bundle]), Notes()
        self.rootfs = bundle / "rootfs"
        self.container = make_container(bundle, self.step)
        self.staged = stage_in(self.container, self.step, adapt=as_it_is, log=self.notes)
        self.first, self.second = (on_node(self.step, node) / "rootfs" for node in ("node1", "node2"))

    def out(self) -> str:
        """Bring it back; what was said of what is lost."""
        stage_out(self.container, self.staged, self.step, log=self.notes)
        assert not self.first.exists()
        assert not self.second.exists()
        return self.notes.at("error")


def test_what_several_nodes_made_comes_back_from_each(tmp_path: Path, bundle: Path) -> None:
    it = TwoNodes(tmp_path, bundle)
    for name, rootfs in (("of node1", it.first), ("of node2", it.second)):
        (rootfs / "results").mkdir()
        (rootfs / "results" / name).touch()
        (rootfs / "etc/passwd").unlink()
    assert it.out() == ""
    assert sorted(os.listdir(it.rootfs / "results")) == ["of node1", "of node2"]
    assert not (it.rootfs / "etc/passwd").exists()


def test_what_several_nodes_made_alike_is_no_conflict(tmp_path: Path, bundle: Path) -> None:
    it = TwoNodes(tmp_path, bundle)
    for rootfs in (it.first, it.second):
        (rootfs / "new").write_text("same")
        (rootfs / "link").symlink_to("new")
        (rootfs / "etc/passwd").write_text("also the same")
    assert it.out() == ""
    assert (it.rootfs / "new").read_text() == "same"


@pytest.mark.parametrize("second", ["two", "other", "longer than one"])
def test_the_first_nodes_change_counts(tmp_path: Path, bundle: Path, second: str) -> None:
    it = TwoNodes(tmp_path, bundle)
    (it.first / "etc/passwd").write_text("one")
    (it.second / "etc/passwd").write_text(second)
    assert f"1 changes not brought back: '{it.rootfs}/etc/passwd': another node has changed it too" in it.out()
    assert (it.rootfs / "etc/passwd").read_text() == "one"


@pytest.mark.parametrize("remover", ["first", "second"])
def test_a_file_one_node_changed_another_removed_stays(tmp_path: Path, bundle: Path, remover: str) -> None:
    it = TwoNodes(tmp_path, bundle)
    by_name = {"first": it.first, "second": it.second}
    (by_name.pop(remover) / "etc/passwd").unlink()
    (by_name.popitem()[1] / "etc/passwd").write_text("changed")
    assert it.out() == ""
    assert (it.rootfs / "etc/passwd").read_text() == "changed"


def test_a_file_against_a_directory_is_a_conflict(tmp_path: Path, bundle: Path) -> None:
    it = TwoNodes(tmp_path, bundle)
    (it.first / "new").write_text("a file")
    (it.second / "new").mkdir()
    assert "another node has changed it too" in it.out()
    assert (it.rootfs / "new").read_text() == "a file"


def test_one_nodes_failure_keeps_the_others_files(tmp_path: Path, bundle: Path) -> None:
    it = TwoNodes(tmp_path, bundle)
    (it.first / "new").touch()
    (it.second.parent / "before").unlink()
    with pytest.raises(StagingError) as caught:
        it.out()
    path, name = os.path.split(it.staged.bundle)
    assert f"they are still in node2:{path}/kept-{name}" in str(caught.value)
    assert (it.rootfs / "new").exists()
    assert it.second.parent.with_name(f"kept-{name}").exists()
    assert not it.first.parent.exists(), "its changes are here"


def test_site_can_leave_changes_on_the_node(tmp_path: Path, bundle: Path) -> None:
    run = Run(tmp_path, bundle)
    (run.there / "rootfs/new").touch()
    run.out(bring_back=False)
    assert not (run.rootfs / "new").exists()


def test_failure_says_where_the_changes_still_are(tmp_path: Path, bundle: Path) -> None:
    run = Run(tmp_path, bundle)
    (run.there / "rootfs/new").touch()
    (run.there / "before").unlink()
    with pytest.raises(StagingError) as caught:
        stage_out(run.container, run.staged, run.step, log=run.notes)
    path, name = os.path.split(run.staged.bundle)
    assert f"they are still in node1:{path}/kept-{name}" in str(caught.value)
    assert "is not complete" in str(caught.value)
    assert (run.there.with_name(f"kept-{name}") / "rootfs/new").exists()
    assert not run.there.exists(), "an Epilog that goes by the job's number would remove that"


def test_step_that_dies_half_way_is_a_failure(tmp_path: Path, bundle: Path) -> None:
    run = Run(tmp_path, bundle)
    (run.there / "rootfs/new").touch()
    run.step.path = "/nowhere"
    with pytest.raises(StagingError, match=r"env.*No such file"):
        stage_out(run.container, run.staged, run.step, log=run.notes)
    notes = Notes()
    discard(run.staged, run.step, log=notes)
    assert "cleaning up: node1" in notes.at("info")


def test_what_the_container_made_unwritable_is_removed(tmp_path: Path, bundle: Path) -> None:
    run = Run(tmp_path, bundle)
    locked = run.there / "rootfs" / "locked"
    (locked / "in").mkdir(parents=True)
    (locked / "in" / "file").touch()
    (locked / "in").chmod(0o000)
    locked.chmod(stat.S_IRUSR)
    run.out(bring_back=False)


def test_other_nodes_files_in_a_new_directory_stay(tmp_path: Path, bundle: Path) -> None:
    it = TwoNodes(tmp_path, bundle)
    for name, rootfs in (("of node1", it.first), ("of node2", it.second)):
        (rootfs / "results").mkdir()
        (rootfs / "results" / name).touch()
        os.setxattr(rootfs / "results", "user.overlay.opaque", b"y")
        rootfs.with_name("l").mkdir()  # for the layers below it
    (it.rootfs / "results").mkdir()
    (it.rootfs / "results/of before").touch()
    assert it.out() == ""
    assert sorted(os.listdir(it.rootfs / "results")) == ["of node1", "of node2"]


@pytest.mark.parametrize("where", ["volume", "rootfs"])
def test_an_attribute_of_overlays_hides_nothing_elsewhere(tmp_path: Path, bundle: Path, where: str) -> None:
    """An engine in the container may have its layers there; in these only a directory's content is hidden."""
    volume = tmp_path / "private"
    volume.mkdir()
    source, on_the_node = (volume, "mounts/0") if where == "volume" else (bundle / "rootfs", "rootfs")
    (source / "inner").mkdir()
    (source / "inner/unchanged").write_text("x")
    run = Run(tmp_path, bundle, mounts=[bind(volume, "/data")])
    inner = run.there / on_the_node / "inner"
    os.setxattr(inner, "user.overlay.opaque", b"y")
    (inner / "new").write_text("x")
    run.out()
    assert {path.name for path in (source / "inner").iterdir()} == {"unchanged", "new"}
