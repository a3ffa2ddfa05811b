"""A bound file is written anew in place, and neither its old content nor the new one is lost where there is no room."""

from __future__ import annotations

import errno
import io
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from test_staging_hostile import END, GONE, archive
from test_staging_node import FakeStep, Notes, bundle, is_root, make_container

from scrun.errors import StagingError
from scrun.staging import in_place
from scrun.staging import stage_out as staging_out
from scrun.staging.model import Copy, Part, Staged
from scrun.staging.node_changes import NodeChanges
from scrun.staging.stage_out import stage_out

__all__ = ["bundle"]

needs_small_disk = pytest.mark.skipif(not is_root, reason="needs a small disk")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk of 16 KB."""
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "small", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)


def bring_back(source: Path, content: bytes, tmp_path: Path, bundle: Path) -> None:
    """What stage_out does with a small file that the container has changed to that."""
    copy = tmp_path / "copy"
    copy.write_bytes(content)
    step = FakeStep(tmp_path)
    staged = Staged("/b", "/r", copies=(Copy(str(copy), str(source), 1, 1),))
    stage_out(make_container(bundle, step), staged, step, log=Notes())


@pytest.mark.parametrize("content", [b"", b"new", b"longer than it was"])
def test_a_changed_file_stays_the_same_file(content: bytes, tmp_path: Path, bundle: Path) -> None:
    source = tmp_path / "source"
    source.write_text("old one")
    source.chmod(0o640)
    os.link(source, tmp_path / "other name")
    before = source.stat()
    bring_back(source, content, tmp_path, bundle)
    after = source.stat()
    assert source.read_bytes() == (tmp_path / "other name").read_bytes() == content
    assert (after.st_ino, after.st_mode, after.st_uid) == (before.st_ino, before.st_mode, before.st_uid)


@needs_small_disk
def test_without_room_old_and_new_files_both_stay(
    small: Path, tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kept := tmp_path / "kept").mkdir()
    monkeypatch.setattr(staging_out, "_KEPT", str(kept))
    (small / "source").write_text("old")
    with pytest.raises(StagingError, match="source: its change is not brought back: No space left on device") as error:
        bring_back(small / "source", bytes(1 << 16), tmp_path, bundle)
    assert (small / "source").read_text() == "old"
    (path,) = re.findall("it is kept as (.*)", str(error.value))
    assert Path(path).read_bytes() == bytes(1 << 16)
    assert (Path(path).stat().st_mode & 0o777, Path(path).parent.stat().st_mode & 0o777) == (0o600, 0o700)


@needs_small_disk
def test_a_loss_is_told_if_nothing_can_stay(
    small: Path, tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging_out, "_KEPT", str(tmp_path / "nowhere"))
    (small / "source").write_text("old")
    with pytest.raises(StagingError, match=r"it is lost, since .* can't take it either: No such file"):
        bring_back(small / "source", bytes(1 << 16), tmp_path, bundle)


@needs_small_disk
def test_without_room_a_carried_file_stays(small: Path, tmp_path: Path, bundle: Path) -> None:
    (small / "file").write_text("old")
    part = Part("mounts/0", str(small / "file"), False, True)
    with (
        NodeChanges(make_container(bundle, FakeStep(tmp_path)), [part], Notes()) as changes,
        pytest.raises(OSError, match="No space left"),
    ):
        changes.apply(archive(GONE, ("mounts/0", tarfile.REGTYPE, bytes(1 << 16)), END))
    assert (small / "file").read_text() == "old"


def test_a_hole_hides_nothing_of_the_old_content(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * (1 << 17))
    made = tmp_path / "made.tar"
    (tmp_path / "sparse").write_bytes(b"begin")
    os.truncate(tmp_path / "sparse", 1 << 17)
    (tmp_path / "gone").touch()
    (tmp_path / "end").touch()
    subprocess.run(
        ["tar", "-cf", made, "--format=posix", "--sparse", "--transform=s,^sparse$,mounts/0,", "gone", "sparse", "end"],
        cwd=tmp_path,
        check=True,
    )
    part = Part("mounts/0", str(tmp_path / "file"), False, True)
    with (
        open(made, "rb") as stream,
        NodeChanges(make_container(bundle, FakeStep(tmp_path)), [part], Notes()) as changes,
    ):
        changes.apply(stream)
    assert (tmp_path / "file").read_bytes() == (tmp_path / "sparse").read_bytes()


ERRORS = (StagingError, OSError)
HUGE = 1 << 42  # bytes: more than memory, and than anybody could read or write in a test


def test_a_copys_hole_of_terabytes_costs_nothing(tmp_path: Path, bundle: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(b"x" * (1 << 17))
    copy.write_bytes(b"begin")
    with copy.open("r+b") as file:
        file.seek(HUGE)
        file.write(b"end")
    step = FakeStep(tmp_path)
    staged = Staged("/b", "/r", copies=(Copy(str(copy), str(source), 1, 1),))
    stage_out(make_container(bundle, step), staged, step, log=Notes())
    assert_is_that(source)
    assert source.stat().st_blocks < 1 << 10


def assert_is_that(path: Path) -> None:
    """It begins with "begin", ends with "end", and has zeros between."""
    with path.open("rb") as file:
        assert file.read(1 << 17) == b"begin".ljust(1 << 17, b"\0")
        file.seek(HUGE - 1000)
        assert file.read() == bytes(1000) + b"end"


def test_an_archives_hole_of_terabytes_costs_nothing(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * (1 << 17))
    (tmp_path / "tree").mkdir()
    (tmp_path / "gone").touch()
    (tmp_path / "end").touch()
    with (tmp_path / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(HUGE)
        file.write(b"end")
    tar = ["tar", "-cf", "made.tar", "--format=posix", "--sparse", "--transform=s,^sparse$,mounts/0,"]
    subprocess.run([*tar, "gone", "sparse"], cwd=tmp_path, check=True)
    tar[1:2] = ["-rf"]
    subprocess.run([*tar[:-1], "--transform=s,^sparse$,mounts/1/new,", "sparse", "end"], cwd=tmp_path, check=True)
    parts = [
        Part("mounts/0", str(tmp_path / "file"), False, True),
        Part("mounts/1", str(tmp_path / "tree"), True, True),
    ]
    taken: set[bytes] = set()
    container = make_container(bundle, FakeStep(tmp_path))
    for _ in range(2):  # the second node has the same
        with (
            open(tmp_path / "made.tar", "rb") as stream,
            NodeChanges(container, parts, notes := Notes(), taken) as changes,
        ):
            changes.apply(stream)
        assert notes.at("error") == ""
    for path in (tmp_path / "file", tmp_path / "tree/new"):
        assert_is_that(path)
        assert path.stat().st_blocks < 1 << 10


def test_an_attribute_without_room_blocks_no_other_file(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")  # as ext4 says of more than a block of attributes

    monkeypatch.setattr(os, "setxattr", full)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("gone"))
        for name in ("mounts/1/first", "mounts/1/second"):
            info = tarfile.TarInfo(name)
            info.pax_headers = {"SCHILY.xattr.user.x": "v" * 5000} if name.endswith("first") else {}
            tar.addfile(info)
        tar.addfile(tarfile.TarInfo("end"))
    stream.seek(0)
    (tmp_path / "tree").mkdir()
    part = Part("mounts/1", str(tmp_path / "tree"), True, True)
    with (
        NodeChanges(make_container(bundle, FakeStep(tmp_path)), [part], Notes()) as changes,
        pytest.raises(StagingError, match=r"1 changes not brought back: .*first.*attribute user.x of 5000 bytes"),
    ):
        changes.apply(stream)
    assert [path.name for path in (tmp_path / "tree").iterdir()] == ["second"]


@pytest.mark.parametrize("name", ["mounts/0", "mounts/1/new"])
@pytest.mark.parametrize(
    ("holes", "size"),
    [
        *(("-5,10", 10), ("5,-3", 20), ("0,5,3,5", 20), ("10,5,0,5", 20), ("0,100", 10), ("1,2,3", 10), ("", 5)),
        *(("0,10", -1), ("0,5", 1 << 63), ("0,5", 1 << 70), (f"{1 << 63},5", 1 << 62), (f"{1 << 70},5", 10)),
    ],
)
def test_senseless_holes_end_in_at_most_an_error(
    tmp_path: Path, bundle: Path, name: str, holes: str, size: int
) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10)
    (tmp_path / "tree").mkdir()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("gone"))
        info = tarfile.TarInfo(name)
        info.size = 10
        sparse = {"major": "0", "minor": "1", "name": name, "size": str(size), "map": holes}
        info.pax_headers = {f"GNU.sparse.{key}": value for key, value in sparse.items()}
        tar.addfile(info, io.BytesIO(b"0123456789"))
        tar.addfile(tarfile.TarInfo("end"))
    stream.seek(0)
    parts = [
        Part("mounts/0", str(tmp_path / "file"), False, True),
        Part("mounts/1", str(tmp_path / "tree"), True, True),
    ]
    with NodeChanges(make_container(bundle, FakeStep(tmp_path)), parts, Notes()) as changes, suppress(*ERRORS):
        changes.apply(stream)
    assert (tmp_path / "file").stat().st_size in (10, max(size, 0))


@pytest.mark.parametrize(
    ("names", "mode", "is_set"),
    [([], 0o755, False), ([], 0o700, True), (["rootfs/var/new"], 0o755, True), (["rootfs/var/sub/new"], 0o755, False)],
)
def test_a_new_time_of_slurms_directory_is_ignored(
    tmp_path: Path, bundle: Path, names: list[str], mode: int, is_set: bool
) -> None:
    """Slurm has made and removed a directory of its own in it; an image would get one more file with each RUN."""
    var = tmp_path / "tree/var"
    (var / "sub").mkdir(parents=True)
    os.utime(var, (1000, 1000))
    before = var.stat()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("gone"))
        info = tarfile.TarInfo("rootfs/var")
        info.type, info.mode, info.mtime = tarfile.DIRTYPE, mode, 2000
        tar.addfile(info)
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
        tar.addfile(tarfile.TarInfo("end"))
    stream.seek(0)
    part = Part("rootfs", str(tmp_path / "tree"), True, True)
    with NodeChanges(make_container(bundle, FakeStep(tmp_path)), [part], Notes(), untimed=b"var") as changes:
        changes.apply(stream)
    assert (var.stat().st_mtime, var.stat().st_mode & 0o777) == ((2000, mode) if is_set else (1000, 0o755))
    assert (var.stat().st_ctime_ns == before.st_ctime_ns) is not is_set
    assert all((tmp_path / "tree" / name.removeprefix("rootfs/")).exists() for name in names)


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("file")
    for name in ("pipe", "link"):
        with pytest.raises(OSError):  # noqa: PT011  which one differs
            in_place.open_existing(str(tmp_path / name))
