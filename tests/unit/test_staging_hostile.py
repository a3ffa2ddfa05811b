"""A node's archive is the container's user's: whatever it says, nothing outside changes, and owners stay."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from typing import TYPE_CHECKING

import pytest
from test_staging_bring_back import Run
from test_staging_node import FakeStep, Notes, bundle, is_root, make_container, needs_mounts

from scrun.errors import StagingError
from scrun.staging.changes import Changes
from scrun.staging.model import Part

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["bundle"]

pytestmark = needs_mounts


def test_links_of_the_container_lead_nowhere_here(tmp_path: Path, bundle: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "passwd").write_text("safe")
    # The image has a directory that the container replaces by a link, and a link that it replaces by a directory.
    (bundle / "rootfs" / "link").symlink_to(outside)
    run = Run(tmp_path, bundle)
    there = run.there / "rootfs"
    (there / "link").unlink()
    (there / "link").mkdir()
    (there / "link" / "passwd").write_text("evil")
    shutil.rmtree(there / "etc")
    (there / "etc").symlink_to(outside)
    run.out()
    assert (outside / "passwd").read_text() == "safe"
    assert os.listdir(outside) == ["passwd"]
    assert (run.rootfs / "link" / "passwd").read_text() == "evil"
    assert os.readlink(run.rootfs / "etc") == str(outside)


def archive(*members: tuple[str, bytes, bytes | str]) -> io.BytesIO:
    """A stream as a node sends it, of members (name, tar type, content or link)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, what in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, 0o755
            if isinstance(what, bytes):
                info.size = len(what)
            else:
                info.linkname = what
            tar.addfile(info, io.BytesIO(what) if isinstance(what, bytes) else None)
    stream.seek(0)
    return stream


GONE, END = ("gone", tarfile.REGTYPE, b""), ("end", tarfile.REGTYPE, b"")


@pytest.fixture
def apply(tmp_path: Path, bundle: Path) -> Callable[..., str]:
    """Applies a forged archive to a rootfs beside which lies a file that isn't the container's; gives the error log."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("safe")
    (bundle / "file").write_text("safe")
    (bundle / "rootfs" / "out").symlink_to(tmp_path / "outside")
    (bundle / "rootfs" / "up").symlink_to("..")

    step = FakeStep(tmp_path)

    def run(*members: tuple[str, bytes, bytes | str]) -> str:
        notes = Notes()
        part = Part("rootfs", str(bundle / "rootfs"), True, True)
        try:
            with Changes(make_container(bundle, step), [part], notes) as changes:
                changes.apply(archive(*members))
        finally:
            assert (tmp_path / "outside" / "file").read_text() == "safe"
            assert (tmp_path / "outside" / "file").stat().st_nlink == 1
            assert os.listdir(tmp_path / "outside") == ["file"]
            assert (bundle / "file").read_text() == "safe"
            assert sorted(os.listdir(bundle)) == ["config.json", "file", "rootfs"]
        return notes.at("error")

    return run


@pytest.mark.parametrize(
    "name", ["rootfs/../file", "rootfs/up/file", "rootfs/out/file", "rootfs//file", "rootfs/./file"]
)
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_name_that_climbs_out_is_refused(apply: Callable[..., str], name: str, kind: bytes) -> None:
    what: bytes | str = b"evil" if kind == tarfile.REGTYPE else "/etc" if kind == tarfile.SYMTYPE else b""
    assert "1 changes not brought back" in apply(GONE, (name, kind, what), END)


@pytest.mark.parametrize("target", ["rootfs/../file", "rootfs/up/file", "rootfs/out/file"])
def test_hard_link_to_what_is_outside_is_refused(apply: Callable[..., str], target: str) -> None:
    assert "not brought back" in apply(GONE, ("rootfs/evil", tarfile.LNKTYPE, target), END)


def test_deletions_do_not_follow_links_nor_climb(apply: Callable[..., str]) -> None:
    names = b"rootfs/out/file\0rootfs/up/file\0rootfs/../file\0rootfs/no/such\0rootfs\0"
    assert "is gone on the node" in apply(("gone", tarfile.REGTYPE, names), END)
    assert "not a name inside" in apply(("gone", tarfile.REGTYPE, b"rootfs/../file\0"), END)


@pytest.mark.parametrize("name", ["/etc/passwd", "../file", "file", "mounts/0/file"])
def test_name_that_was_never_carried_breaks_the_archive(apply: Callable[..., str], name: str) -> None:
    with pytest.raises(StagingError, match="was never carried"):
        apply(GONE, (name, tarfile.REGTYPE, b"evil"), END)


def test_stream_that_ends_early_deletes_nothing(apply: Callable[..., str], bundle: Path) -> None:
    with pytest.raises(StagingError, match="cut short"):
        apply(("gone", tarfile.REGTYPE, b"rootfs/etc/passwd\0"))
    assert (bundle / "rootfs/etc/passwd").exists()


@pytest.mark.skipif(not is_root, reason="only root has owners to give")
def test_owners_stay_and_new_files_get_the_process_user(tmp_path: Path, bundle: Path) -> None:
    (bundle / "rootfs" / "theirs").write_text("x")
    os.chown(bundle / "rootfs" / "theirs", 1234, 1235)
    run = Run(tmp_path, bundle)
    # The job is another user's; on its node everything is his.
    run.container.config["process"]["user"] = {"uid": 5, "gid": 6}
    run.container.config["linux"] = {"uidMappings": [{"containerID": 0, "hostID": 100_000, "size": 65_536}]}
    container = run.container._replace(user_id=4711, group_id=4712)
    notes = Notes()
    part = Part("rootfs", str(run.rootfs), True, True)
    with Changes(container, [part], notes) as changes:
        members = [(f"rootfs/{name}", tarfile.REGTYPE, b"new") for name in ("theirs", "made")]
        changes.apply(archive(GONE, *members, ("rootfs/dir", tarfile.DIRTYPE, b""), END))
    assert [(path.stat().st_uid, path.stat().st_gid) for path in (run.rootfs / "theirs", run.rootfs / "made")] == [
        (1234, 1235),
        (100_005, 6),
    ]
    assert (run.rootfs / "dir").stat().st_uid == 100_005


@pytest.mark.skipif(not is_root, reason="only root can act for another user")
def test_root_writes_to_a_volume_with_the_rights_of_the_jobs_user(tmp_path: Path, bundle: Path) -> None:
    volume = tmp_path / "volume"
    (volume / "open").mkdir(parents=True)
    (volume / "open").chmod(0o777)
    (volume / "closed").write_text("root's")
    for parent in [volume, *volume.parents][:-1]:
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(0o755)
    container = make_container(bundle, FakeStep(tmp_path))._replace(user_id=4711, group_id=4712)
    notes = Notes()
    with Changes(container, [Part("mounts/0", str(volume), True, True)], notes) as changes:
        members = [(f"mounts/0/{name}", tarfile.REGTYPE, b"new") for name in ("closed", "open/made")]
        changes.apply(archive(GONE, *members, END))
    assert (volume / "closed").read_text() == "root's"
    assert "'closed': Permission denied" in notes.at("error")
    status = (volume / "open/made").stat()
    assert (status.st_uid, status.st_gid, os.geteuid(), os.getegid()) == (4711, 4712, 0, 0)
