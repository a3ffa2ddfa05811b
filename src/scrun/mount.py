"""Facts about the mounts of config.json, and about paths as they are written."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing takes 6 ms; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrun.oci import Mount


def is_bind(mount: Mount) -> bool:
    """Whether the mount shows files that already exist elsewhere (runtime-spec, config.md, Mounts)."""
    return mount.get("type") == "bind" or not {"bind", "rbind"}.isdisjoint(mount.get("options") or ())


def copies_link(mount: Mount) -> bool:
    """Whether a source that is a symbolic link becomes such a link in the container (crun; podman's no-dereference)."""
    return "copy-symlink" in (mount.get("options") or ())


def is_below(path: str, top: str) -> bool:
    """Whether ``path`` lies below ``top``, as written."""
    return path.startswith(top.rstrip("/") + "/")


def is_within(path: str, top: str) -> bool:
    """Whether ``path`` is ``top`` or lies below ``top``, as written."""
    return path == top or is_below(path, top)


def is_within_any(path: str, tops: Iterable[str]) -> bool:
    """Whether ``path`` is one of ``tops`` or lies below one of them."""
    return any(is_within(path, top) for top in tops)


def is_covered(path: str, destinations: Iterable[str]) -> bool:
    """Whether ``path`` lies below one of the mounts at ``destinations``; a mount at ``/`` doesn't count."""
    return any(is_below(path, destination) for destination in destinations if destination != "/")
