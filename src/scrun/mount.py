"""What a mount of config.json is, and what lies inside a path: facts that several parts of scrun ask for."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing takes 6 ms; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def is_bind(mount: dict[str, Any]) -> bool:
    """Whether it shows files that are somewhere else already (runtime-spec, config.md, Mounts)."""
    return mount.get("type") == "bind" or not {"bind", "rbind"}.isdisjoint(mount.get("options") or ())


def copies_link(mount: dict[str, Any]) -> bool:
    """Whether a source that is a symbolic link becomes such a link in the container (crun; podman's no-dereference)."""
    return "copy-symlink" in (mount.get("options") or ())


def is_within(path: str, top: str) -> bool:
    """Whether ``path`` is ``top`` or lies below it, as written."""
    return path == top or path.startswith(top.rstrip("/") + "/")


def is_within_any(path: str, tops: Iterable[str]) -> bool:
    """:func:`is_within` one of ``tops``."""
    return any(is_within(path, top) for top in tops)
