"""A podman-like storage, and a container whose root filesystem is an overlay of some of its layers."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

from test_staging_node import FakeStep, Notes, as_it_is, make_container, on_node

from scrun.staging.layers import Layers
from scrun.staging.root_mounts import Trial
from scrun.staging.stage_in import stage_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pytest

    from scrun.staging.model import ContainerFiles

KIND = "user." if os.getuid() else "trusted."
WHITEOUT, OPAQUE = "(whiteout)", "(opaque)"  # contents that make a name something else
TRIAL = Trial("overlay", "true", "{}")


class Storage:
    """A storage that the nodes don't see. Its digests are the layers' own names unless another one is given."""

    def __init__(self, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = scratch / "bundle/graph"
        (self.path / "overlay").mkdir(mode=0o755, parents=True)
        (self.path / "overlay-layers").mkdir(mode=0o700)
        (scratch / "bundle/rootfs").mkdir()
        (scratch / "bundle/config.json").write_text("{}")
        self._scratch, self._digests = scratch, dict[str, str]()
        self._lower: list[str] = []
        monkeypatch.setattr("scrun.staging.stage_in.find_layers", lambda _rootfs, _mounts: self.layers())
        self.redirects = False

    def layer(self, name: str, files: Mapping[str, str], digest: str | None = None) -> str:
        """Make a layer: contents by name; a name that ends with a slash is a directory."""
        diff = self.path / "overlay" / name / "diff"
        diff.mkdir(parents=True)
        fill(diff, files)
        self._digests[name] = f"sha256:{name}" if digest is None else digest
        self.note()
        return name

    def note(self) -> None:
        """Write layers.json."""
        layers = [{"id": name, "diff-digest": digest} for name, digest in self._digests.items()]
        path = self.path / "overlay-layers/layers.json"
        path.write_text(json.dumps(layers))
        path.chmod(0o600)

    def use(self, *names: str) -> None:
        """The layers of the next container, the topmost first; its upper directory is empty."""
        self._lower = [f"{self.path}/overlay/{name}/diff" for name in names]
        (self.path / "overlay/own/diff").mkdir(parents=True, exist_ok=True)

    def layers(self) -> Layers:
        """The layers of the next container."""
        return Layers(tuple(self._lower), f"{self.path}/overlay/own/diff", KIND, self.redirects)

    def stage(
        self,
        step: FakeStep,
        job: int = 7,
        overlay: Trial | None = None,
        options: Mapping[str, object] | None = None,
        name: str = "web",
    ) -> Notes:
        """Stage a container; without a trial the nodes copy what an overlay shows. Returns what was logged."""
        notes = Notes()
        container: ContainerFiles = make_container(self._scratch / "bundle", step)
        self.container = container._replace(job_id=job, overlay=overlay, id=name)
        chosen = {"cache_dir": str(step.node_dir), **(options or {})}
        self.staged = stage_in(self.container, step, adapt=as_it_is, log=notes, options=chosen)
        return notes


def fill(directory: Path, files: Mapping[str, str]) -> None:
    """Make files below a directory: see Storage.layer."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content == WHITEOUT:
            os.mknod(path, stat.S_IFCHR, 0)
        elif name.endswith("/"):
            path.mkdir(exist_ok=True)
            if content == OPAQUE:
                os.setxattr(path, f"{KIND}overlay.opaque", b"y")
        else:
            path.write_text(content)


def kept(step: FakeStep, node: str = "node1") -> set[str]:
    """The names of the complete layers that a node keeps."""
    return {path.parent.name for path in of_node(step, node).glob("[!.]*/seal")}


def of_node(step: FakeStep, node: str = "node1") -> Path:
    """Where a node keeps layers."""
    return on_node(step, node).parent / "layers"


def contents(directory: Path) -> dict[str, str]:
    """Files and their contents by name, and directories with a slash."""
    found = {}
    for above, directories, files in os.walk(directory):
        short = os.path.relpath(above, directory)
        for name in directories:
            found[os.path.normpath(f"{short}/{name}") + "/"] = ""
        for name in files:
            with open(f"{above}/{name}", encoding="utf-8") as file:
                found[os.path.normpath(f"{short}/{name}")] = file.read()
    return found


def carried(notes: Notes) -> Sequence[str]:
    """What was said about layers that were carried."""
    return [line for line in notes.at("info").split("\n") if " layers of " in line and line.startswith("carrying ")]
