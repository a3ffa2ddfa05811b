"""The mount at ``/`` that a node's config.json begins with, if the root filesystem isn't used just as it is.

The runtime makes this mount first, in the container's user namespace (an overlay there needs Linux 5.11).
"""

from __future__ import annotations

from scrun.staging import root_mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrun.oci import Config, Root


def in_place(config: Config) -> Config:
    """The config with its root filesystem bound over itself, so that device nodes in it don't work."""
    options = ["rbind", "nodev", *_readonly(config)]
    again = root_mounts.mount(root_mounts.BIND, config["root"]["path"], options)
    return {**config, "mounts": [again, *config["mounts"]]}


def over(config: Config, node_path: str, options: Sequence[str], *, fenced: bool) -> Config:
    """The config with an overlay as its root filesystem.

    root.readonly applies to the directory below the overlay, so the mount has "ro" too; crun applies it when everything
    is mounted.

    Args:
        config: the config.
        node_path: the container's directory on the nodes.
        options: the overlay's own options.
        fenced: whether device nodes in it must not work.
    """
    nodev = ["nodev"] if fenced else []
    mount = root_mounts.mount(root_mounts.OVERLAY, "overlay", [*_readonly(config), *nodev, *options])
    root: Root = {**config["root"], "path": f"{node_path}/root"}
    return {**config, "root": root, "mounts": [mount, *config["mounts"]]}


def _readonly(config: Config) -> list[str]:
    return ["ro"] if config["root"].get("readonly") else []
