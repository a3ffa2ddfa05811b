"""Rules of :mod:`scrun.bundle.adapt` about namespaces, and about settings that need a namespace of the container's."""

from __future__ import annotations

from scrun.errors import BundleError

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Literal

    from scrun.oci import Config, IDMapping


_IPC_SYSCTLS = ("kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue.")
"""Prefixes of the sysctls that an ipc namespace has (namespaces(7))."""


_PING = "net.ipv4.ping_group_range"


def has_namespace(config: Config, kind: str) -> bool:
    """Whether the container has its own namespace of that kind."""
    return any(namespace["type"] == kind for namespace in config.get("linux", {}).get("namespaces", []))


def process_ids(config: Config) -> tuple[int, int]:
    """The uid and gid of the process inside the container; 0 where the config has none (config.md, User)."""
    user = config["process"].get("user", {})
    return user.get("uid", 0), user.get("gid", 0)


def map_user(config: Config, *, uid: int, gid: int, keep_user: bool) -> Iterator[str]:
    """Make the user namespace of an unprivileged job; for the arguments see :func:`scrun.bundle.adapt.adapt`.

    The job's user has one id only, which becomes the container's user (user_namespaces(7), uid_map).
    """
    linux = config["linux"]
    inside = process_ids(config)
    if not keep_user and inside != (0, 0):
        config["process"].setdefault("user", {}).update({"uid": 0, "gid": 0})
        yield f"user {inside[0]}:{inside[1]} becomes root of the container: the node's runtime can't map another"
        inside = (0, 0)
    if not has_namespace(config, "user"):
        linux["namespaces"].append({"type": "user"})
        yield "user namespace added: the job isn't root's"
    # An engine's mappings name ids of its user namespace, or subordinate ids, so they mean nothing on the node.
    key: Literal["uidMappings", "gidMappings"]
    for key, own, on_node in (("uidMappings", inside[0], uid), ("gidMappings", inside[1], gid)):
        mapping: list[IDMapping] = [{"containerID": own, "hostID": on_node, "size": 1}]
        if linux.get(key) != mapping:
            linux[key] = mapping
            yield f"{key}: {own} in the container is {on_node} on the node, and nothing else is mapped"


def join(config: Config, other: tuple[str, Sequence[int]] | None, *, with_user: bool) -> Iterator[str]:
    """Join the network namespace that another container has on the node, if any; see ``adapt``'s ``joined``.

    A network namespace can be entered only together with the user namespace that owns it. The job's user has one id in
    that, so the process gets this id (setns(2), user_namespaces(7)). It is 0 unless the node's runtime is crun.
    """
    if not other:
        return
    directory, (uid, gid) = other
    linux = config["linux"]
    linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "network"]
    linux["namespaces"].append({"type": "network", "path": f"{directory}/net"})
    yield f"network namespace: the other container's on the node, {directory}/net"
    sysctl = linux.get("sysctl", {})
    for name in [name for name in sysctl if name.startswith("net.")]:
        yield f"sysctl {name}={sysctl.pop(name)} left out: the network is another container's"
    if not with_user:
        return
    for namespace in linux["namespaces"]:
        if namespace["type"] == "user":
            namespace["path"] = f"{directory}/user"
    # No mapping is made in a namespace that is joined. But by these crun takes the process for that user and not for
    # user 0, whom such a namespace doesn't know (libcrun/linux.c, set_id_init).
    key: Literal["uidMappings", "gidMappings"]
    for key, own in (("uidMappings", uid), ("gidMappings", gid)):
        mappings = linux.pop(key, [])
        if own:
            linux[key] = [{**mapping, "containerID": own} for mapping in mappings]
    if process_ids(config) != (uid, gid):
        before = ":".join(map(str, process_ids(config)))
        yield f"user {before} becomes {uid}:{gid}, as in the container whose network this is"
        config["process"].setdefault("user", {}).update({"uid": uid, "gid": gid})


def choose_network(config: Config, *, nodes_network: bool) -> Iterator[str]:
    """Replace a network namespace by the node's network, or by a new namespace; see ``adapt``'s ``nodes_network``."""
    linux = config.setdefault("linux", {})
    kept = []
    for namespace in linux.get("namespaces", []):
        path = namespace.get("path", "")
        if namespace["type"] != "network":
            kept.append(namespace)
        elif nodes_network:
            yield f"network namespace {path or 'of the engine'} isn't joined: the container uses the node's network"
        else:
            kept.append({"type": "network"})
            if path:
                yield f"network namespace {path} isn't joined: the container gets a new one on its node"
    linux["namespaces"] = kept


def _paths(config: Config) -> Iterator[str]:
    """Replace namespaces of the login node that the container was to join, because a node can't join them."""
    linux = config.setdefault("linux", {})
    kept = []
    for namespace in linux.get("namespaces", []):
        kind, path = namespace["type"], namespace.pop("path", "")
        if not path:
            kept.append(namespace)
        elif kind in ("network", "user", "cgroup", "time"):
            # Network: the other end of pasta or of the bridge is on the login node, so only the node's own network
            # reaches anything. User: map_user makes one. Cgroup and time: the job's.
            yield f"{kind} namespace {path} isn't joined: the container gets the job's"
        else:
            kept.append(namespace)
            yield f"{kind} namespace {path} isn't joined: the container gets a new one"
    if not any(namespace["type"] == "mount" for namespace in kept):
        # Without a mount namespace both runtimes fail rootless; as root they would mount over the node's own files.
        kept.append({"type": "mount"})
        yield "mount namespace added: the container needs its own on the node"
    linux["namespaces"] = kept


def _mappings(config: Config) -> Iterator[str]:
    # A user namespace without both mappings fails as root. With them the namespace stays for root's job, because a
    # rootful engine's mappings name the host's ids, which are the node's too. Other jobs get theirs from map_user.
    linux = config["linux"]
    mapped = bool(linux.get("uidMappings")) and bool(linux.get("gidMappings"))
    if has_namespace(config, "user") and not mapped:
        linux["namespaces"] = [namespace for namespace in linux["namespaces"] if namespace["type"] != "user"]
        yield "user namespace left out: nothing is mapped in it"
    if not has_namespace(config, "user"):
        key: Literal["uidMappings", "gidMappings"]
        for key in ("uidMappings", "gidMappings"):
            if linux.pop(key, []):
                yield f"linux.{key} left out: they were of a user namespace that isn't joined"


def check_root(config: Config) -> None:
    """Refuse a user namespace in which root of a root's container is another user of the host.

    Such a root can't enter the directories of root's on the node, in which bundle and files are: nobody else may.

    Raises:
        BundleError: the container has one.
    """
    if not has_namespace(config, "user"):
        return
    for mapping in config["linux"].get("uidMappings", []):
        if mapping["containerID"] == 0 and mapping["hostID"] != 0:
            raise BundleError(
                f"root of the container is to be user {mapping['hostID']} (linux.uidMappings), who can't enter root's "
                "directories on a node: leave out --uidmap, --userns or dockerd's userns-remap, or run the container "
                "as another user"
            )


def _time_offsets(config: Config) -> Iterator[str]:
    # Both runtimes refuse timeOffsets without a time namespace.
    if not has_namespace(config, "time") and config["linux"].pop("timeOffsets", {}):
        yield "linux.timeOffsets left out: the container has no time namespace"


def _host_name(config: Config) -> Iterator[str]:
    # Both runtimes refuse a host name without a uts namespace, even the host's own name, which docker writes.
    if has_namespace(config, "uts"):
        return
    key: Literal["hostname", "domainname"]
    for key in ("hostname", "domainname"):
        if name := config.pop(key, ""):
            yield f"{key} {name} left out: the container has the node's"


def _domain_name(config: Config) -> Iterator[str]:
    # docker --domainname writes a sysctl, which fails in a user namespace (EACCES); the config's domainname works.
    if has_namespace(config, "uts") and (name := config["linux"].get("sysctl", {}).pop("kernel.domainname", "")):
        config["domainname"] = name
        yield f"sysctl kernel.domainname becomes the domainname {name}"


def _net_devices(config: Config) -> Iterator[str]:
    if devices := config["linux"].pop("netDevices", {}):
        yield f"linux.netDevices ({', '.join(devices)}) left out: they are interfaces of the machine of the engine"


def _sysctls(config: Config) -> Iterator[str]:
    """Remove sysctls of namespaces that the container doesn't have, because both runtimes refuse them."""
    sysctl = config["linux"].get("sysctl", {})
    for name in list(sysctl):
        if name.startswith("net."):
            kind = "network"
        elif name.startswith(_IPC_SYSCTLS):
            kind = "ipc"
        elif name == "kernel.domainname":
            kind = "uts"
        else:
            continue
        if not has_namespace(config, kind):
            yield f"sysctl {name}={sysctl.pop(name)} left out: the container has the node's {kind} namespace"


def ping_groups(config: Config) -> Iterator[str]:
    """Limit ping_group_range to the one mapped group.

    Groups that aren't mapped are EINVAL, and docker writes 0 to 2147483647.
    """
    sysctl = config["linux"].get("sysctl", {})
    group = process_ids(config)[1]
    only = f"{group} {group}"
    if _PING in sysctl and sysctl[_PING].split() != only.split():
        yield f"sysctl {_PING}={sysctl[_PING]} becomes {only}: no other group is mapped"
        sysctl[_PING] = only


def same_ping_groups(one: Config, other: Config) -> bool:
    """Whether both configs have the same ping_group_range."""
    return len({config.get("linux", {}).get("sysctl", {}).get(_PING) for config in (one, other)}) == 1


EVERY_JOB = (_paths, _mappings, _time_offsets, _host_name, _domain_name, _net_devices, _sysctls)

UNPRIVILEGED = (ping_groups,)

WITHOUT_NAMESPACE = (_time_offsets, _sysctls)
