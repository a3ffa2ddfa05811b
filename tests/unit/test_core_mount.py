"""What lies inside a path, which mounts are binds, and links that are followed inside another root."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from scrun import links, mount


@pytest.mark.parametrize(
    ("entry", "is_bind"),
    [
        ({"type": "bind"}, True),
        ({"type": "none", "options": ["ro", "bind"]}, True),
        ({"options": ["rbind"]}, True),
        ({"type": "tmpfs", "options": ["ro"]}, False),
        ({"type": "tmpfs", "options": None}, False),
        ({}, False),
    ],
)
def test_a_bind_has_the_type_or_an_option(entry: Any, is_bind: bool) -> None:
    assert mount.is_bind(entry) is is_bind


@pytest.mark.parametrize(
    ("path", "top", "is_within", "is_below"),
    [
        ("/a/b", "/a", True, True),
        ("/a/b", "/a/", True, True),
        ("/a", "/a", True, False),
        ("/ab", "/a", False, False),
        ("/a", "/a/b", False, False),
        ("/a", "/", True, True),
        ("/", "/", True, True),
    ],
)
def test_a_path_is_within_another_by_whole_names(path: str, top: str, is_within: bool, is_below: bool) -> None:
    assert mount.is_within(path, top) is is_within
    assert mount.is_below(path, top) is is_below
    assert mount.is_within_any(path, ["/elsewhere", top]) is is_within


def test_a_mount_covers_what_is_below_it() -> None:
    assert mount.is_covered("/data/x", ["/", "/data"])
    assert not mount.is_covered("/data", ["/", "/data"])


def _follow(root: Path, path: str) -> tuple[list[str], list[str]]:
    def target_of(names: list[str]) -> str | None:
        here = root.joinpath(*names)
        return os.readlink(here) if here.is_symlink() else "" if here.is_dir() else None

    return links.follow(path, target_of)


def test_links_are_followed_inside_the_root(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "bin").symlink_to("/usr/bin")
    (tmp_path / "usr/up").symlink_to("../../../usr")
    (tmp_path / "etc").mkdir()
    (tmp_path / "usr/absolute").symlink_to("/etc")
    assert _follow(tmp_path, "/bin") == (["usr", "bin"], [])
    assert _follow(tmp_path, "//usr/./up/bin/..") == (["usr"], [])
    assert _follow(tmp_path, "/usr/absolute/new") == (["etc", "new"], [])
    assert _follow(tmp_path, "/../..") == ([], [])


def test_what_cannot_be_followed_is_left(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/file").touch()
    assert _follow(tmp_path, "/etc/file/a/../b") == (["etc", "file"], ["a", "..", "b"])
    assert _follow(tmp_path, "/missing/x/") == (["missing"], ["x"])


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links") as caught:
        _follow(tmp_path, "/a/c")
    assert caught.value.errno == errno.ELOOP


def test_forty_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    for number in range(1, links.MOST_LINKS + 2):
        (tmp_path / str(number)).symlink_to(str(number - 1))
    assert _follow(tmp_path, f"/{links.MOST_LINKS}") == (["0"], [])
    with pytest.raises(OSError, match="symbolic links"):
        _follow(tmp_path, f"/{links.MOST_LINKS + 1}")
