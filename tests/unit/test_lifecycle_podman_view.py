"""What podman is shown of a container's mounts; how it is mounted is tested with podman (test_top.py there)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from test_staging_node import needs_mounts

from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.standin import podman_view
from scrun.lifecycle.standin.mounting import Mounting

if TYPE_CHECKING:
    from scrun.oci import Mount
    from scrun.staging.model import StagedData

STAGED: StagedData = {"seen": ["/home/alice/data", "/scratch"], "spool": "/home/alice/bundle/.scrun-box"}
TREE = 7


class Noted(Mounting):
    """Mounts nothing."""

    def __init__(self, *, fails: bool = False) -> None:
        self.asked: list[tuple[str, bool, bool]] = []
        self._fails = fails

    def tree(self, path: str, *, recursive: bool = False, read_only: bool = False) -> int:
        self.asked.append((path, recursive, read_only))
        if self._fails:
            raise OSError
        return TREE


@pytest.mark.parametrize(
    ("options", "recursive", "read_only"),
    [
        (["bind"], False, False),
        (["rbind", "rprivate"], True, False),
        (["bind", "ro"], False, True),
        (["rbind", "rro"], True, True),
    ],
)
@pytest.mark.parametrize("source", ["/scratch", "/home/alice/bundle/.scrun-box/mounts/0"])
def test_a_mount_that_is_here_is_shown(source: str, options: list[str], recursive: bool, read_only: bool) -> None:
    noted = Noted()
    mount: Mount = {"destination": "/x", "type": "bind", "source": source, "options": options}
    assert podman_view.tree_of_mount(noted, mount, STAGED) == TREE
    assert noted.asked == [(source, recursive, read_only)]


def test_a_bind_mount_is_known_by_its_options() -> None:
    mount: Mount = {"destination": "/x", "source": "/scratch", "options": ["rbind"]}
    assert podman_view.tree_of_mount(Noted(), mount, STAGED) == TREE


@pytest.mark.parametrize(
    "mount",
    [
        {"type": "tmpfs", "source": "tmpfs"},
        {"type": "bind", "source": "/dev/shm", "options": ["bind"]},
        {"type": "bind", "source": "/home/alice/data/below", "options": ["bind"]},  # not what was asked about
        {"type": "bind", "source": "/home/alice/bundle/.scrun-box-2/mounts/0", "options": ["bind"]},
        {"type": "overlay", "source": "/scratch"},
    ],
)
def test_a_mount_that_may_differ_is_not_shown(mount: Any) -> None:
    noted = Noted()
    assert podman_view.tree_of_mount(noted, mount | {"destination": "/x"}, STAGED) == -1
    assert not noted.asked


def test_what_cannot_be_mounted_is_not_shown() -> None:
    mount: Mount = {"destination": "/x", "type": "bind", "source": "/scratch", "options": ["bind"]}
    assert podman_view.tree_of_mount(Noted(fails=True), mount, STAGED) == -1


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        ({"type": "tmpfs", "source": "tmpfs"}, True),
        ({"type": "bind", "source": "/"}, True),
        ({"type": "bind", "source": "/etc/passwd"}, False),
        ({"type": "bind", "source": "/tmp/scrun-2000/7-box/mounts/0"}, True),
        ({"type": "bind", "source": "/tmp/scrun-2000/7-box/mounts/1"}, False),
        ({"type": "bind", "source": "/no/such/file"}, None),
    ],
)
def test_a_mounts_place_is_what_its_source_is(mount: Any, expected: bool | None) -> None:
    parts = [["mounts/0", "/tmp/a", True, True], ["mounts/1", "/tmp/b", False, True]]
    staged: StagedData = STAGED | {"parts": parts, "node_parent": "/tmp", "node_name": "7-box"}
    assert podman_view.is_directory(mount | {"destination": "/x"}, staged) is expected


@needs_mounts
@pytest.mark.parametrize("rootfs", [False, True], ids=["", "its files are here, but can't be shown"])
def test_an_unshowable_container_has_an_empty_root(
    rootfs: bool, container: Container, fork: Callable[..., int]
) -> None:
    shown, done = os.pipe()

    def stand_in() -> None:
        podman_view.show(container, rootfs=rootfs)  # its record says nothing of any files
        os.write(done, b"shown")
        signal.pause()

    pid = fork(stand_in)
    assert os.read(shown, 5) == b"shown"
    mounts = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    (*_, root) = [fields for fields in mounts if fields[4] == "/"]  # the topmost is what one sees who enters
    assert root[3] == "/"
    assert root[5].startswith("ro")
    assert root[-3:-1] == ["tmpfs", "scrun"]
    assert not [fields for fields in mounts if fields[4] == container.path]
    assert b"scrun ps box" in Path(f"/proc/{pid}/cmdline").read_bytes()
    os.close(shown)
    os.close(done)
