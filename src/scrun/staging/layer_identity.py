"""Name an engine's layers, so that a layer that the nodes have from an earlier container is known without reading it.

Engines never change a layer, and note a digest of each: podman in its storage's overlay-layers/layers.json, docker in
image/overlay2/layerdb. Layers of one digest have the same files. So a base that two images share has one name, also in
two storages and on two login hosts. docker's digest here is that of a chain, a layer with all below it: where it can't
unpack a layer by itself (rootless, redirect_dir), it unpacks it over those below, and removes nothing that they lack.

A digest counts only if nobody but the caller could have written it: in somebody else's image store a file could give a
layer the digest of another one. Every other layer is named by its directory. A directory that isn't an engine's may
change between two containers, so it has no name: a person's own below an overlay (podman run --rootfs DIRECTORY:O).
"""

from __future__ import annotations

import os
import stat

from scrun import fastjson, small_file
from scrun.digest import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_DOCKERS = "image/overlay2/layerdb/sha256"
_PODMANS = "overlay-layers/layers.json"
_LARGEST = 1 << 26  # bytes of a layers.json
_LETTERS = 40  # of a name


def digests(lower: Sequence[str]) -> dict[str, str]:
    """What the engine has noted of these layers that decides their content, by path; without layers of no digest.

    Args:
        lower: the layers' real paths, STORAGE/overlay/ID/diff (podman) or STORAGE/overlay2/ID/diff (docker).
    """
    found: dict[str, str] = {}
    storages: dict[tuple[str, str], dict[str, str]] = {}
    for path in lower:
        above, last = os.path.split(path)
        driver, layer = os.path.split(above)
        storage, kind = os.path.split(driver)
        if last == "diff" and kind in _ENGINES and all(map(_is_ours, (above, driver, storage))):
            storages.setdefault((storage, kind), {})[layer] = path
    for (storage, kind), wanted in storages.items():
        for layer, digest in _ENGINES[kind](storage, wanted.keys()):
            found[wanted[layer]] = digest
    return found


def is_engines(path: str) -> bool:
    """Whether a directory lies where engines keep layers, which they don't change.

    These are STORAGE/overlay/ID/diff (podman, which has diff1 beside it when it has shifted users),
    STORAGE/overlay2/ID/diff (docker), and DIRECTORY/snapshots/NUMBER/fs (containerd).
    """
    *_, kind, _layer, last = ("", "", *path.split("/"))
    return (kind in _ENGINES and last.rstrip("0123456789") == "diff") or (kind == "snapshots" and last == "fs")


def name_of(path: str, digest: str, *, devices: bool) -> str:
    """The name of a layer's copy on the nodes: hexadecimal digits.

    Args:
        path: the layer's directory.
        digest: what :func:`digests` has of it; "" to take the directory's identity.
        devices: whether the layer's device nodes are carried too.

    Raises:
        OSError: the directory can't be looked at.
    """
    kind = "with devices" if devices else "without devices"
    status = os.stat(path)
    if digest:  # docker may shift all users (userns-remap)
        return _name("digest", kind, digest, str(status.st_uid), str(status.st_gid))
    facts = (status.st_ino, status.st_ctime_ns, status.st_uid, os.statvfs(path).f_fsid)
    return _name("directory", kind, path, *map(str, facts))


def _name(*words: str) -> str:
    return sha256("\0".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:_LETTERS]


def _podmans(storage: str, wanted: Iterable[str]) -> Iterator[tuple[str, str]]:
    path = os.path.join(storage, _PODMANS)
    if not (_is_ours(os.path.dirname(path)) and _is_ours(path)):
        return
    try:
        layers = fastjson.loads(small_file.read(path, _LARGEST).decode())
        for layer in layers:
            # A layer that podman has made for a user namespace, from another one, still has that one's digest. But it
            # has copies of files in the layers below, with other owners.
            is_shifted = layer.get("uidmap") or layer.get("gidmap")
            if layer["id"] in wanted and not is_shifted and (digest := layer.get("diff-digest")):
                yield layer["id"], digest
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return  # another version's, or damaged


def _dockers(storage: str, wanted: Iterable[str]) -> Iterator[tuple[str, str]]:
    place = storage
    for name in _DOCKERS.split("/"):
        if not _is_ours(place := os.path.join(place, name)):
            return
    with os.scandir(place) as entries:
        for entry in entries:
            try:
                layer = small_file.read(os.path.join(entry.path, "cache-id")).decode()
                if layer in wanted:
                    yield layer, f"chain {entry.name}"
            except (OSError, ValueError):
                continue  # being made, or removed


_ENGINES = {"overlay": _podmans, "overlay2": _dockers}


def _is_ours(path: str) -> bool:
    """Whether only the caller can write to a file or directory, which is no link."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022 and not stat.S_ISLNK(status.st_mode)
