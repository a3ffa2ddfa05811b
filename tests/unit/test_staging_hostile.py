"""A node's archive is the container's user's: whatever it says, nothing outside changes, and owners stay."""

from __future__ import annotations

import io
import os
import re
import shutil
import stat
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from test_staging_bring_back import Run
from test_staging_node import FakeStep, Notes, bind, bundle, is_root, make_container, needs_mounts

from scrun.errors import StagingError
from scrun.staging import entries, members, trees
from scrun.staging.model import Copy, Part, Staged
from scrun.staging.node_changes import NodeChanges
from scrun.staging.stage_out import stage_out

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
    """Applies a forged archive to a rootfs beside which lies a file that isn't the container's; gives what it said."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("safe")
    (bundle / "file").write_text("safe")
    (bundle / "rootfs" / "out").symlink_to(tmp_path / "outside")
    (bundle / "rootfs" / "up").symlink_to("..")

    step = FakeStep(tmp_path)

    def run(*members: tuple[str, bytes, bytes | str]) -> str:
        part = Part("rootfs", str(bundle / "rootfs"), True, True)
        try:
            with NodeChanges(make_container(bundle, step), [part], Notes()) as changes:
                changes.apply(archive(*members))
        except StagingError as error:
            return str(error)
        finally:
            assert (tmp_path / "outside" / "file").read_text() == "safe"
            assert (tmp_path / "outside" / "file").stat().st_nlink == 1
            assert os.listdir(tmp_path / "outside") == ["file"]
            assert (bundle / "file").read_text() == "safe"
            assert sorted(os.listdir(bundle)) == ["config.json", "file", "rootfs"]
        return ""

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
    assert "was never carried" in apply(GONE, (name, tarfile.REGTYPE, b"evil"), END)


def test_stream_that_ends_early_deletes_nothing(apply: Callable[..., str], bundle: Path) -> None:
    assert "cut short" in apply(("gone", tarfile.REGTYPE, b"rootfs/etc/passwd\0"))
    assert (bundle / "rootfs/etc/passwd").exists()


@pytest.mark.skipif(not is_root, reason="only root has owners to give")
def test_owners_stay_new_files_get_the_process_user(tmp_path: Path, bundle: Path) -> None:
    (bundle / "rootfs" / "theirs").write_text("x")
    os.chown(bundle / "rootfs" / "theirs", 1234, 1235)
    run = Run(tmp_path, bundle)
    # The job is another user's; on its node everything is his.
    run.container.config["process"]["user"] = {"uid": 5, "gid": 6}
    run.container.config["linux"] = {"uidMappings": [{"containerID": 0, "hostID": 100_000, "size": 65_536}]}
    container = run.container._replace(user_id=4711, group_id=4712)
    notes = Notes()
    part = Part("rootfs", str(run.rootfs), True, True)
    with NodeChanges(container, [part], notes) as changes:
        members = [(f"rootfs/{name}", tarfile.REGTYPE, b"new") for name in ("theirs", "made")]
        changes.apply(archive(GONE, *members, ("rootfs/dir", tarfile.DIRTYPE, b""), END))
    assert [(path.stat().st_uid, path.stat().st_gid) for path in (run.rootfs / "theirs", run.rootfs / "made")] == [
        (1234, 1235),
        (100_005, 6),
    ]
    assert (run.rootfs / "dir").stat().st_uid == 100_005


@pytest.mark.skipif(not is_root, reason="only root can act for another user")
def test_root_writes_volumes_with_the_users_rights(tmp_path: Path, bundle: Path) -> None:
    volume = tmp_path / "volume"
    (volume / "open").mkdir(parents=True)
    (volume / "open").chmod(0o777)
    (volume / "closed").write_text("root's")
    for parent in [volume, *volume.parents][:-1]:
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(0o755)
    container = make_container(bundle, FakeStep(tmp_path))._replace(user_id=4711, group_id=4712)
    members = [(f"mounts/0/{name}", tarfile.REGTYPE, b"new") for name in ("closed", "open/made")]
    with (
        NodeChanges(container, [Part("mounts/0", str(volume), True, True)], Notes()) as changes,
        pytest.raises(StagingError, match="'closed': Permission denied"),
    ):
        changes.apply(archive(GONE, *members, END))
    assert (volume / "closed").read_text() == "root's"
    status = (volume / "open/made").stat()
    assert (status.st_uid, status.st_gid, os.geteuid(), os.getegid()) == (4711, 4712, 0, 0)


def test_a_hard_link_between_parts_breaks_the_archive(tmp_path: Path, bundle: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "file").write_text("safe")
    parts = [Part("rootfs", str(bundle / "rootfs"), True, True), Part("mounts/0", str(volume), True, True)]
    with (
        NodeChanges(make_container(bundle, FakeStep(tmp_path)), parts, Notes()) as changes,
        pytest.raises(StagingError, match="a hard link from 'rootfs/mine' to 'mounts/0/file'"),
    ):
        changes.apply(archive(GONE, ("rootfs/mine", tarfile.LNKTYPE, "mounts/0/file"), END))
    assert (volume / "file").stat().st_nlink == 1


@pytest.mark.skipif(not is_root, reason="needs a small disk")
def test_a_full_disk_is_no_success(tmp_path: Path, bundle: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "small", bundle / "rootfs"], check=True)
    try:
        part = Part("rootfs", str(bundle / "rootfs"), True, True)
        with (
            NodeChanges(make_container(bundle, FakeStep(tmp_path)), [part], Notes()) as changes,
            pytest.raises(OSError, match="No space left") as caught,
        ):
            changes.apply(archive(GONE, ("rootfs/large", tarfile.REGTYPE, bytes(1 << 16)), END))
        assert caught.value.filename == f"{bundle}/rootfs/large"
    finally:
        subprocess.run(["umount", bundle / "rootfs"], check=True)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_copy_no_longer_a_file_stays_behind(make: Callable[[Path], None], tmp_path: Path, bundle: Path) -> None:
    copy, source = tmp_path / "copy", tmp_path / "source"
    make(copy)
    source.write_text("safe")
    staged = Staged("/b", "/r", copies=(Copy(str(copy), str(source), 1, 1),))
    step = FakeStep(tmp_path)
    stage_out(make_container(bundle, step), staged, step, log=Notes())
    assert source.read_text() == "safe"


def test_a_named_pipe_is_no_empty_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    info = tarfile.TarInfo("rootfs/pipe")
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        assert not entries.is_same(b"pipe", directory, info, io.BytesIO(b""))
    finally:
        os.close(directory)


@pytest.mark.parametrize(
    ("mtime", "nanoseconds"),
    [("0", 0), ("1.5", 1_500_000_000), ("-1.5", -1_500_000_000), ("1700000000.123456789", 1_700_000_000_123_456_789)],
)
def test_a_time_keeps_its_nanoseconds_before_1970_too(mtime: str, nanoseconds: int) -> None:
    info = tarfile.TarInfo("x")
    info.pax_headers = {"mtime": mtime}
    assert entries.mtime_ns(info) == nanoseconds


def test_no_mode_goes_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may write to a volume's directory."""
    (tmp_path / "secret").touch(mode=0o600)
    (tmp_path / "volume").mkdir()
    mknod = os.mknod

    def replaced(name: bytes, mode: int, device: int, *, dir_fd: int) -> None:
        mknod(name, mode, device, dir_fd=dir_fd)
        os.unlink(name, dir_fd=dir_fd)
        os.symlink("../secret", name, dir_fd=dir_fd)

    monkeypatch.setattr("os.mknod", replaced)
    info = tarfile.TarInfo("pipe")
    info.type, info.mode = tarfile.FIFOTYPE, 0o666
    directory = os.open(tmp_path / "volume", os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="not supported"):
            entries.make_entry(b"pipe", directory, info, None, None)
    finally:
        os.close(directory)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_a_list_of_removed_names_fills_no_memory(apply: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scrun.staging.node_changes._MOST_GONE", 1000)
    assert "too many files were removed" in apply(("gone", tarfile.REGTYPE, b"rootfs/x\0" * 200), END)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_an_entrys_description_fills_no_memory(apply: Callable[..., str], kind: bytes) -> None:
    large = members.MOST + 1
    said = apply(GONE, ("rootfs/x", tarfile.DIRTYPE, ""), ("large", kind, bytes(large)), END)
    assert said.endswith(f"the archive is broken: {large} bytes describe one entry")
    assert "the archive" not in apply(GONE, ("large", tarfile.XGLTYPE, b"14 comment=ok\n"), END)


def test_overlayfs_notes_of_the_node_are_dropped(tmp_path: Path) -> None:
    info = tarfile.TarInfo("rootfs/file")
    info.pax_headers = {"SCHILY.xattr.user.overlay.origin": "x", "SCHILY.xattr.user.mine": "y", "mtime": "1"}
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        entries.make_entry(b"file", directory, info, io.BytesIO(b""), None)
    finally:
        os.close(directory)
    assert os.listxattr(tmp_path / "file") == ["user.mine"]


@pytest.mark.skipif(not is_root, reason="needs a right to mount")
def test_removing_a_directory_spares_what_is_mounted_there(tmp_path: Path) -> None:
    (tmp_path / "tree" / "mounted").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "x", tmp_path / "tree" / "mounted"], check=True)
    try:
        (tmp_path / "tree" / "mounted" / "theirs").touch()
        with pytest.raises(OSError, match="something is mounted there"):
            trees.remove_tree(str(tmp_path / "tree"))
        assert (tmp_path / "tree" / "mounted" / "theirs").exists()
    finally:
        subprocess.run(["umount", tmp_path / "tree" / "mounted"], check=True)


@pytest.mark.parametrize("how", ["link", "directory", "nothing"])
def test_a_volume_that_was_replaced_gets_nothing(how: str, tmp_path: Path, bundle: Path) -> None:
    # Another container that has the volume can do that to a part of it, and we may be root.
    private, other = tmp_path / "private", tmp_path / "other"
    (private / "part").mkdir(parents=True)
    other.mkdir()
    run = Run(tmp_path, bundle, [bind(private / "part", "/x")])
    (run.there / "mounts/0/made").write_text("made")
    (private / "part").rename(private / "elsewhere")
    if how == "link":
        (private / "part").symlink_to(other)
    elif how == "directory":
        (private / "part").mkdir()
    with pytest.raises(StagingError, match=f"they are still in node1:{re.escape(str(run.step.node_dir))}/scrun-"):
        run.out()
    assert not [*other.iterdir(), *(private / "elsewhere").iterdir()]
    assert (run.there.with_name(f"kept-{run.there.name}") / "mounts/0/made").read_text() == "made"


def test_a_path_through_a_link_is_not_held(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").touch()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real/link").symlink_to("file")
    os.close(trees.open_place(f"{tmp_path}/real/file"))
    os.close(trees.open_place("/"))
    for path in ("link/file", "link", "real/link", "nothing"):
        with pytest.raises(OSError, match=path):
            trees.open_place(f"{tmp_path}/{path}")
