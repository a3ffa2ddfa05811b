"""Configs for the tests of scrun.bundle.adapt, and what they ask of the adapted ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scrun.bundle import config
from scrun.bundle.adapt import adapt

CONFIGS = sorted((Path(__file__).parent / "configs").glob("*.json"))

Adapted = tuple[Any, list[str]]


def minimal(**linux: Any) -> Any:
    return {
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "mounts": [],
        "linux": {"namespaces": [{"type": kind} for kind in ("mount", "pid", "ipc", "uts", "network")]} | linux,
    }


def engine(name: str) -> Any:
    path = Path(__file__).parent / "configs" / f"{name}.json"
    return config.load_text(path.read_text(), name)


def changed(value: Any, *, uid: int = 2000, gid: int = 2001, keep_user: bool = True) -> Adapted:
    """The adapted config, and what was noted besides the user namespace, which every unprivileged job gets."""
    notes: list[str] = []
    adapted = adapt(value, uid=uid, gid=gid, note=notes.append, keep_user=keep_user)
    expected = ("user namespace added", "uidMappings: ", "gidMappings: ")
    return adapted, [note for note in notes if not note.startswith(expected)]


def as_root(value: Any) -> Adapted:
    return changed(value, uid=0, gid=0)


def kinds(value: Any) -> list[str]:
    return [namespace["type"] for namespace in value["linux"]["namespaces"]]


def without(value: Any, kind: str) -> Any:
    value["linux"]["namespaces"] = [n for n in value["linux"]["namespaces"] if n["type"] != kind]
    return value


def mount(value: Any, destination: str) -> Any:
    [found] = [m for m in value["mounts"] if m["destination"] == destination]
    return dict(found)
