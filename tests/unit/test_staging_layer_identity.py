"""A layer's name on the nodes is one for the same files, and another one for others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from scrun.staging import layer_identity

if TYPE_CHECKING:
    from pathlib import Path


def docker(path: Path, chains: dict[str, tuple[str, str]]) -> dict[str, str]:
    """The digests of a storage of docker's with these chains: layer and digest of each."""
    path.mkdir(mode=0o755)
    for directory in ("overlay2", "image", "image/overlay2", "image/overlay2/layerdb", "image/overlay2/layerdb/sha256"):
        (path / directory).mkdir(mode=0o755)
    for chain, (layer, digest) in chains.items():
        (path / "overlay2" / layer / "diff").mkdir(mode=0o755, parents=True)
        noted = path / "image/overlay2/layerdb/sha256" / chain
        noted.mkdir()
        (noted / "cache-id").write_text(layer)
        (noted / "diff").write_text(digest)
    wanted = {f"{path}/overlay2/{layer}/diff": layer for layer, _digest in chains.values()}
    return {wanted[found]: digest for found, digest in layer_identity.digests([*wanted]).items()}


def test_dockers_layers_are_known_with_all_below_them(tmp_path: Path) -> None:
    """Without a native overlay diff docker leaves out of a layer what it would remove from layers that lack it."""
    first = docker(tmp_path / "1", {"base": ("aa", "sha256:b"), "over-base": ("bb", "sha256:same")})
    second = docker(tmp_path / "2", {"base": ("cc", "sha256:b"), "over-other": ("dd", "sha256:same")})
    assert first["aa"] == second["cc"]
    assert first["bb"] != second["dd"]


def test_a_layer_with_shifted_users_has_no_digest(tmp_path: Path) -> None:
    """podman copies files of all layers below into it, and leaves it the digest of the layer that it was made from."""
    for layer in ("plain", "shifted"):
        (tmp_path / "overlay" / layer / "diff").mkdir(mode=0o755, parents=True)
    (tmp_path / "overlay-layers").mkdir(mode=0o700)
    shifted = {"id": "shifted", "diff-digest": "sha256:a", "uidmap": [{"container_id": 0, "host_id": 1, "size": 9}]}
    noted = tmp_path / "overlay-layers/layers.json"
    noted.write_text(json.dumps([{"id": "plain", "diff-digest": "sha256:a"}, shifted]))
    noted.chmod(0o600)
    paths = {layer: f"{tmp_path}/overlay/{layer}/diff" for layer in ("plain", "shifted")}
    assert layer_identity.digests([*paths.values()]) == {paths["plain"]: "sha256:a"}


@pytest.mark.parametrize(
    ("path", "is_engines"),
    [
        ("/home/alice/graph/overlay/ab12/diff", True),
        ("/home/alice/graph/overlay/ab12/diff1", True),
        ("/var/lib/docker/overlay2/ab12/diff", True),
        ("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/12/fs", True),
        ("/home/alice/root", False),
        ("/home/alice/overlay/diff", False),
        ("/diff", False),
    ],
)
def test_only_engines_directories_stay_what_they_are(path: str, is_engines: bool) -> None:
    assert layer_identity.is_engines(path) == is_engines
