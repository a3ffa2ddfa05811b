"""What a site may write in scrun.lua is checked, and the shipped scrun.lua says nothing else."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from scrun.errors import StagingError
from scrun.staging.filesystems import LOCAL_TYPES
from scrun.staging.mountinfo import MountTable, Visibility
from scrun.staging.stage_options import StagingOptions

SHIPPED = os.path.join(os.path.dirname(__file__), "..", "..", "etc", "scrun.lua")


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"share": ["/home"]}, "scrun.stage_in: option 'share' is unknown: use shared, on_nodes, node_dir, mounts"),
        ({"shared": "/home"}, "scrun.stage_in: shared: '/home' is not a list"),
        ({"shared": ["home"]}, "scrun.stage_in: shared: 'home' is not an absolute path"),
        ({"on_nodes": [7]}, "scrun.stage_in: on_nodes: 7 is not an absolute path"),
        ({"node_dir": "tmp"}, "scrun.stage_in: node_dir: 'tmp' is not an absolute path"),
        ({"node_dir": "/tmp\0"}, "is not an absolute path"),
        ({"mounts": [{"source": "/a"}]}, "needs source and destination, and may have options"),
        ({"mounts": [{"source": "/a", "destination": "/b", "type": "bind"}]}, "needs source and destination"),
        ({"mounts": [{"source": "/a", "destination": "/b", "options": "ro"}]}, "options: 'ro' is not a list"),
        ({"bring_back": True}, "option 'bring_back' is unknown"),
        ({"cache": "no"}, "scrun.stage_in: cache: 'no' is neither true nor false"),
        ({"cache_dir": "scratch"}, "scrun.stage_in: cache_dir: 'scratch' is not an absolute path"),
        ({"cache_size": "10"}, 'scrun.stage_in: cache_size: \'10\' is not a size: say e.g. "500M", "20G" or "1T"'),
        ({"cache_size": -1}, "cache_size: -1 is not a size"),
        (["/home"], "scrun.stage_in: it takes a table of shared"),
    ],
)
def test_wrong_option_is_named(given: Any, complaint: str) -> None:
    with pytest.raises(StagingError, match=re.escape(complaint)):
        StagingOptions.for_stage_in(given)


def test_wrong_option_of_stage_out_is_named() -> None:
    with pytest.raises(StagingError, match="bring_back: 1 is neither true nor false"):
        StagingOptions.for_stage_out({"bring_back": 1})
    with pytest.raises(StagingError, match="option 'shared' is unknown: use bring_back"):
        StagingOptions.for_stage_out({"shared": []})


def test_empty_lua_tables_are_empty_lists() -> None:
    assert StagingOptions.for_stage_in(
        {"shared": {}, "mounts": [{"source": "/a", "destination": "/b/", "options": {}}]}
    ) == (StagingOptions(mounts=({"destination": "/b", "type": "bind", "source": "/a", "options": ["rbind"]},)))
    assert StagingOptions.for_stage_in(None) == StagingOptions.for_stage_in({}) == StagingOptions()


def test_options_of_the_shipped_script_work_uncommented() -> None:
    with open(SHIPPED) as file:
        text = file.read()
    names = set(re.findall(r"^    -- (\w+) = [{\"]", text, re.MULTILINE))
    assert names == {"shared", "node_dir", "on_nodes", "mounts", "cache_dir", "cache_size"}
    words = {"node_dir": "/tmp", "cache_dir": "/var/tmp", "cache_size": "20G"}
    StagingOptions.for_stage_in({name: [] for name in names - words.keys()} | words)


@pytest.mark.parametrize(
    ("given", "size"), [("500M", 500 << 20), ("2g", 2 << 30), ("1T", 1 << 40), ("64K", 65536), (0, 0), (4096, 4096)]
)
def test_sizes_are_in_bytes_or_with_a_unit(given: Any, size: int) -> None:
    assert StagingOptions.for_stage_in({"cache_size": given}).cache_size == size


ONE = b"""\
20 1 8:1 / / rw - ext4 /dev/sda1 rw
21 20 0:30 / /home rw - nfs server:/home rw
22 20 0:31 / /run rw - tmpfs none rw
"""
# Rootless podman: a bind mount of its storage onto itself, and an image's overlay.
PODMAN = (
    ONE
    + b"""\
30 21 0:30 /a\\040b/storage /home/a\\040b/storage rw - nfs server:/home rw
31 30 0:99 / /home/a\\040b/storage/merged rw - overlay overlay rw
"""
)


@pytest.mark.parametrize(
    ("path", "private", "shared"),
    [
        ("/home/a b/storage/vfs/1", False, True),
        ("/home/a b/storage/merged", True, False),
        ("/home/a b/storage/merged/etc", True, False),
        ("/home", False, True),
        ("/homestead", False, False),
        ("/run/user/1", False, False),
    ],
)
def test_mount_tables_tell_what_others_see(path: str, private: bool, shared: bool) -> None:
    visibility = Visibility(("/home",), MountTable(PODMAN), MountTable(ONE))
    assert (visibility.is_private(path), visibility.is_shared(path)) == (private, shared)


@pytest.mark.parametrize("fstype", sorted(LOCAL_TYPES))
def test_local_mounts_under_a_shared_path_are_unshared(fstype: str) -> None:
    local = f"23 21 0:50 / /home/docker/merged rw - {fstype} some rw\n".encode()
    table = ONE + local + b"24 21 0:51 / /home/bob rw - nfs4 s:/bob rw\n"
    visibility = Visibility(("/home",), MountTable(table), MountTable(table))
    assert not visibility.is_shared("/home/docker/merged/x")
    assert visibility.is_shared("/home/bob/x"), "an automounted home"


def test_an_image_file_that_is_mounted_is_local() -> None:
    assert {"squashfs", "erofs", "overlay", "tmpfs"} <= LOCAL_TYPES


def test_unreadable_mount_table_decides_nothing() -> None:
    visibility = Visibility(("/home",), MountTable(ONE), None)
    assert not visibility.is_private("/home/x")
    assert MountTable.of("no-such-process") is None


def test_later_mount_on_the_same_point_counts() -> None:
    table = MountTable(ONE + b"25 20 0:77 / /run rw - tmpfs again rw\n")
    mount = table.covering("/run/x")
    assert mount is not None
    assert mount.device == "0:77"


@pytest.mark.parametrize(
    ("kind", "is_memory"), [("tmpfs", True), ("ramfs", True), ("overlay", False), ("ext4", False), ("nfs4", False)]
)
def test_the_file_system_tells_files_in_memory(kind: str, is_memory: bool) -> None:
    table = MountTable(b"1 1 8:1 / / rw - %s x rw\n" % kind.encode())
    assert Visibility((), table, None).is_memory("/") is is_memory
    assert Visibility((), None, None).is_memory("/") is False
