"""Whether an engine removes a container at its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scrun.bundle.removal import is_removed_at_end

if TYPE_CHECKING:
    from scrun.oci import Config

BUNDLE = "/home/alice/storage/overlay-containers/box/userdata"
REMOVED: Config = {"annotations": {"io.podman.annotations.autoremove": "TRUE"}}


def test_podman_says_it_in_an_annotation() -> None:
    assert is_removed_at_end("box", REMOVED, BUNDLE)
    assert not is_removed_at_end("box", {"annotations": {"io.podman.annotations.autoremove": "FALSE"}}, BUNDLE)
    assert not is_removed_at_end("box", {}, BUNDLE)


@pytest.mark.parametrize("bundle", ["/var/tmp/buildah123", "/home/alice/box", "/x/other/userdata"])
def test_the_annotation_counts_nowhere_else(bundle: str) -> None:
    assert not is_removed_at_end("box", REMOVED, bundle)


def docker(tmp_path: Path, text: str) -> bool:
    (tmp_path / "box").mkdir()
    (tmp_path / "box/hostconfig.json").write_text(text)
    config: Config = {"mounts": [{"destination": "/etc/hostname", "source": f"{tmp_path}/box/hostname"}]}
    return is_removed_at_end("box", config, "/run/containerd/box")


@pytest.mark.parametrize(
    ("text", "removed"),
    [
        (json.dumps({"AutoRemove": True}), True),
        (json.dumps({"AutoRemove": False}), False),
        *[(text, False) for text in ("", "[]", "{}", '{"AutoRemove": "yes"}', "\xff")],
    ],
)
def test_docker_says_it_beside_the_hostname(tmp_path: Path, text: str, *, removed: bool) -> None:
    assert docker(tmp_path, text) is removed


def test_another_containers_directory_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "hostconfig.json").write_text('{"AutoRemove": true}')
    config: Config = {"mounts": [{"destination": "/etc/hostname", "source": f"{tmp_path}/hostname"}]}
    assert not is_removed_at_end("box", config, "/run/containerd/box")
