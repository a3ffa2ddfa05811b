"""Rules of :mod:`scrun.bundle.adapt` for root's jobs, which replace the engine's own fences.

docker gives its containers capabilities that are harmless behind docker's two fences: a device cgroup and a network
namespace. On a node there is no device cgroup, and a container with a network has the node's network. A job of another
user has a user namespace, in which these capabilities have no power.
"""

from __future__ import annotations

from scrun.bundle.adapt_namespaces import has_namespace
from scrun.mount import is_bind

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrun.oci import Config, Process


_DEVICES = ("CAP_MKNOD",)
_NETWORK = ("CAP_NET_ADMIN", "CAP_NET_RAW")
_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")


def allows_all_devices(config: Config) -> bool:
    """Whether the engine's device cgroup allows every device, as with ``--privileged``.

    The last rule for all devices counts. Annotations don't count, because they may come from a stranger's YAML.
    """
    allowed = False
    for rule in config.get("linux", {}).get("resources", {}).get("devices", []):
        if rule.get("type", "a") == "a" and rule.get("major", -1) < 0 and rule.get("minor", -1) < 0:
            allowed = bool(rule["allow"]) and {*"rwm"} <= {*(rule.get("access") or "rwm")}
    return allowed


def capabilities(process: Process, engine: Config, *, nodes_network: bool) -> Iterator[str]:
    """Remove the capabilities of a process that only the engine's fences make harmless; yield what changed.

    Args:
        process: the process object to change.
        engine: the container's config as the engine wrote it.
        nodes_network: whether the container uses its node's network.
    """
    if not allows_all_devices(engine):
        yield from _drop(process, _DEVICES, "the node has no device cgroup")
    if nodes_network and has_namespace(engine, "network"):
        yield from _drop(process, _NETWORK, "the network is the node's")


def _drop(process: Process, names: tuple[str, ...], why: str) -> Iterator[str]:
    sets = process.get("capabilities", {})
    had = [name for name in names if any(name in sets.get(key, ()) for key in _SETS)]
    for key in _SETS:
        if key in sets:
            sets[key] = [name for name in sets[key] if name not in names]
    if had:
        yield f"{', '.join(had)} left out: {why}"


def bound_devices(config: Config, engine: Config) -> Iterator[str]:
    """Disable device nodes in bind mounts, because an image may have filled a volume with device nodes.

    Mounts of the node's own ``/dev``, at the same path, still work.
    """
    if allows_all_devices(engine):
        return
    for mount in config.get("mounts", []):
        options, source = mount.get("options", []), mount.get("source", "")
        is_the_nodes = source == mount["destination"] and f"{source}/".startswith("/dev/")
        if is_bind(mount) and not is_the_nodes and "nodev" not in options:
            mount["options"] = [*(option for option in options if option != "dev"), "nodev"]
            yield f"device nodes in {mount['destination']} don't work: the node has no device cgroup"
