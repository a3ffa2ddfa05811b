"""An image of many layers, made without a container for each: a build takes half a minute for sixty."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

BUSYBOX = Path("/usr/share/devcluster/busybox.tar")  # of `docker save`
WHITEOUT = ".wh."  # image-spec, layer.md: a file whose name begins so removes the one named by the rest


def many() -> bytes:
    """An image "many" of busybox and 59 layers, each with a file /fN, and without the one of two layers before."""
    return image("many", ({f"f{i}": b"%d\n" % i, **({f"{WHITEOUT}f{i - 2}": b""} if i > 1 else {})} for i in range(59)))


def image(name: str, layers: Iterable[Mapping[str, bytes]]) -> bytes:
    """An archive for `podman load`: busybox, and above it layers with these files."""
    with tarfile.open(BUSYBOX) as base:
        (manifest,) = json.loads(_content(base, "manifest.json"))
        config = json.loads(_content(base, manifest["Config"]))
        blobs = [_content(base, layer) for layer in manifest["Layers"]]
    blobs += [_tar(files) for files in layers]
    config["rootfs"]["diff_ids"] = [f"sha256:{hashlib.sha256(blob).hexdigest()}" for blob in blobs]
    config["history"] = [{"created_by": "a test"} for _ in blobs]
    names = [f"{number}.tar" for number in range(len(blobs))]
    about = {"Config": "config.json", "RepoTags": [f"localhost/{name}:latest"], "Layers": names}
    files = {"manifest.json": json.dumps([about]).encode(), "config.json": json.dumps(config).encode()}
    return _tar({**files, **dict(zip(names, blobs, strict=True))})


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file, name
    return file.read()


def _tar(files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()
