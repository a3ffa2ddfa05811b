"""Members of an archive that are made here, unpacked by tar(1)."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_staging_node import describe, is_root

from scrun.staging import headers


def unpacked(archive: bytes, to: Path) -> Path:
    to.mkdir()
    argv = ["tar", "--extract", "--file=-", "--preserve-permissions", "--numeric-owner", "--delay-directory-restore"]
    argv.append("--warning=no-timestamp")  # as on the nodes
    done = subprocess.run(argv, cwd=to, input=archive, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return to


def member(path: Path, name: str) -> bytes:
    made: bytes | None = headers.member(os.fsencode(path), name.encode(), "user.*")
    assert made is not None
    return made


def test_files_directories_and_links_arrive_as_they_are(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "deep" / ("d" * 90)).mkdir(parents=True)
    (root / "empty").touch()
    (root / "script").write_bytes(b"#!/bin/sh\n\0\xff" * 100)
    (root / "script").chmod(0o6755)
    (root / "deep" / ("d" * 90) / ("long" * 20)).write_text("a name of more than a hundred bytes")
    (root / "link").symlink_to("target")
    (root / "far").symlink_to("x" * 150)
    (root / "dangling").symlink_to("/nowhere")
    (root / "deep").chmod(0o1700)
    os.utime(root / "script", ns=(0, 1_700_000_000_123_456_789))
    os.utime(root / "deep", ns=(0, 5_000_000_000))
    paths = [root, *sorted(root.rglob("*"))]
    archive = b"".join(member(path, str(path.relative_to(tmp_path))) for path in paths) + headers.END
    unpacked(archive, tmp_path / "there")
    there = describe(tmp_path / "there" / "root")
    assert there == describe(root)


@pytest.mark.skipif(not is_root, reason="only root gives files away")
@pytest.mark.parametrize("owner", [(1000, 1001), (8**7 - 1, 8**7), (300_000_000, 4_000_000_000)])
def test_owners_of_all_sizes_arrive(tmp_path: Path, owner: tuple[int, int]) -> None:
    (tmp_path / "file").touch()
    os.chown(tmp_path / "file", *owner)
    status = (unpacked(member(tmp_path / "file", "file") + headers.END, tmp_path / "there") / "file").stat()
    assert (status.st_uid, status.st_gid) == owner


@pytest.mark.parametrize(
    "mtime", [-1, -250_000_000, -1_500_000_000, -2_000_000_000, 8**11 * 10**9, 10_000_000_000_000_000_001]
)
def test_times_of_all_sizes_arrive(tmp_path: Path, mtime: int) -> None:
    """A header has 11 octal digits."""
    (tmp_path / "opaque").mkdir()
    for name in ("opaque", "file"):
        (tmp_path / "file").touch()
        os.utime(tmp_path / name, ns=(0, mtime))
        if (tmp_path / name).stat().st_mtime_ns != mtime:
            pytest.skip("no file can have that time here")
    opaque = headers.opaque_directory(os.fsencode(tmp_path / "opaque"), b"opaque", "user.*")
    there = unpacked(member(tmp_path / "file", "file") + opaque + headers.END, tmp_path / "there")
    assert (there / "file").stat().st_mtime_ns == (there / "opaque").stat().st_mtime_ns == mtime


@given(st.integers(0, 1200))
def test_a_record_counts_itself(length: int) -> None:
    record = headers._record(b"path", b"x" * length)
    assert int(record.split(b" ")[0]) == len(record)


def two_names(path: Path) -> None:
    path.touch()
    os.link(path, path.parent / "other")


def much(path: Path) -> None:
    path.write_bytes(b"x" * (headers.SMALL + 1))


def an_attribute(path: Path) -> None:
    path.touch()
    os.setxattr(path, "user.colour", b"red")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def another_alphabet(path: Path) -> None:
    path.symlink_to("größe")


def nothing(path: Path) -> None:
    assert not path.exists()


@pytest.mark.parametrize("make", [two_names, much, an_attribute, a_pipe, another_alphabet, nothing])
def test_unusual_files_are_left_to_tar(tmp_path: Path, make: object) -> None:
    assert callable(make)
    make(tmp_path / "it")
    assert headers.member(os.fsencode(tmp_path / "it"), b"it", "user.*") is None


def test_a_name_beyond_ascii_is_left_to_tar(tmp_path: Path) -> None:
    (tmp_path / "it").touch()
    assert headers.member(os.fsencode(tmp_path / "it"), "größe".encode(), "user.*") is None


def test_files_of_ours_are_readable_for_everybody(tmp_path: Path) -> None:
    path = unpacked(headers.file("ours", b"text") + headers.END, tmp_path / "there") / "ours"
    assert path.read_bytes() == b"text"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
