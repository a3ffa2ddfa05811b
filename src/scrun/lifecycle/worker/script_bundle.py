"""The bundle that a site's own script has made (slurm.set_bundle_path), and a bundle of ours over it.

The script's bundle stays as the script made it, but for the engine's settings that no node can use. An agent needs more
in config.json. So the container's step gets a small bundle of ours whose config.json is the script's with that added.
"""

from __future__ import annotations

import os

from scrun import fastjson
from scrun.bundle import adapt
from scrun.bundle import config as bundle_config
from scrun.errors import BundleError
from scrun.mount import is_bind
from scrun.staging.stage_in import stage_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from scrun.lifecycle.worker.host import Host
    from scrun.oci import Config
    from scrun.staging.model import Beside, ContainerFiles, LogCall, NodeSteps, Staged


def read(bundle: str, original: Config, host: Host, uid: int) -> Config | str:
    """Read the config of the script's bundle, and remove the engine's settings that no node can use, there too.

    Args:
        bundle: the bundle's directory.
        original: the config as the engine wrote it.
        host: where to log.
        uid: the job's user.

    Returns:
        The config, or in words why it can't be read: for example because the bundle is on the nodes only.
    """
    try:
        config = bundle_config.load(bundle)
    except BundleError as error:
        return f"{error} (scrun.lua has named that bundle)"
    if notes := adapt.leave_engine(config, original, uid=uid):
        for note in notes:
            host.log("debug", note)
        _write(bundle, config, host)
    return config


def stage(
    container: ContainerFiles,
    bundle: str,
    steps: NodeSteps,
    *,
    log: LogCall,
    beside: Callable[[], Beside | None],
    programs: Callable[[], dict[str, bytes]],
    hooks: bool,
) -> Staged:
    """Make a bundle over the script's. The root filesystem and what is mounted are where the script has put them.

    Args:
        container: the container, with the engine's bundle, where ours is put, and with the script's config.
        bundle: the script's bundle.
        steps: runs commands on the nodes.
        log: is called with a level and a message.
        beside: returns the agent's file, and what it needs in config.json.
        programs: returns further files of the bundle, by name.
        hooks: whether the nodes' runtime runs hooks.

    Raises:
        StagingError: the nodes can't be given the bundle; nothing is left of it.
    """
    rootfs = os.path.normpath(os.path.join(bundle, container.config["root"]["path"]))
    return stage_in(
        container._replace(rootfs=rootfs, config=_absolute(container.config, bundle)),
        steps,
        adapt=lambda same: same,
        log=log,
        options={"shared": [rootfs], "on_nodes": ["/"]},
        beside=beside,
        programs=programs,
        hooks=hooks,
    )


def _absolute(config: Config, bundle: str) -> Config:
    """The config with absolute paths, since another bundle gets it."""
    config = fastjson.copied(config)
    for mount in config.get("mounts") or ():
        if is_bind(mount) and mount.get("source"):
            mount["source"] = os.path.join(bundle, mount["source"])
    return config


def _write(bundle: str, config: Config, host: Host) -> None:
    path = os.path.join(bundle, "config.json")
    fresh = os.path.join(bundle, f".config.json.{os.getpid()}")
    try:
        with open(fresh, "x", encoding="utf-8") as file:
            os.fchmod(file.fileno(), os.stat(path).st_mode & 0o777)
            file.write(fastjson.dumps(config))
        os.rename(fresh, path)
    except OSError as error:  # another user owns it
        host.log("info", f"{path} is left as it is: {error.strerror}: it has what no node can use")
