"""Tell whether an engine removes a container at its end (``run --rm``): its root filesystem is of no use then."""

from __future__ import annotations

import os

from scrun import fastjson, small_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.oci import Config

_PODMAN = "io.podman.annotations.autoremove"


def is_removed_at_end(container_id: str, config: Config, bundle: str) -> bool:
    """Whether the engine has said so: podman in an annotation, docker in hostconfig.json of the container's directory.

    buildah takes annotations from the image that it builds on, so podman's counts in a bundle of podman's storage only.
    docker's directory is known by the hostname file that docker mounts from it.
    """
    own, last = os.path.split(bundle)
    if last == "userdata" and os.path.basename(own) == container_id:
        return (config.get("annotations") or {}).get(_PODMAN) == "TRUE"
    for mount in config.get("mounts") or ():
        directory = os.path.dirname(str(mount.get("source") or ""))
        if mount.get("destination") == "/etc/hostname" and os.path.basename(directory) == container_id:
            return _docker_removes(os.path.join(directory, "hostconfig.json"))
    return False


def _docker_removes(path: str) -> bool:
    try:
        host_config = fastjson.loads(small_file.read(path).decode("utf-8", "replace"))
        return host_config["AutoRemove"] is True
    except (OSError, ValueError, KeyError, TypeError):
        return False
