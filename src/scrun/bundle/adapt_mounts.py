"""Rules of :mod:`scrun.bundle.adapt` about mounts and devices.

Bind mounts of files stay as they are, because staging brings their sources to the node and rewrites the mounts.
"""

from __future__ import annotations

import os

from scrun.bundle.adapt_namespaces import has_namespace, process_ids
from scrun.mount import is_bind

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrun.oci import Config, Device, Mount


_DEFAULT_DEVICES = frozenset(
    f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "console", "ptmx")
)
"""Devices that every runtime makes by itself (config-linux.md, Default Devices)."""

_PLACES = {
    (1, 3): "/dev/null",
    (1, 5): "/dev/zero",
    (1, 7): "/dev/full",
    (1, 8): "/dev/random",
    (1, 9): "/dev/urandom",
    (1, 11): "/dev/kmsg",
    (5, 0): "/dev/tty",
    (10, 200): "/dev/net/tun",
    (10, 229): "/dev/fuse",
    (10, 232): "/dev/kvm",
    (195, 254): "/dev/nvidia-modeset",
    (195, 255): "/dev/nvidiactl",
}
"""Paths of character devices by (major, minor), the same on every Linux machine (its devices.txt)."""

_NVIDIA, _DRI = 195, 226
"""Major numbers of GPUs: /dev/nvidia0 to nvidia253; /dev/dri/card0 to card63 and /dev/dri/renderD128 onwards."""

_SHM = "/dev/shm"  # noqa: S108 (a path in the container)

_PRIVATE_SHM = ["nosuid", "noexec", "nodev", "mode=1777"]
"""Options of a container's own /dev/shm. Without a size, because MPI needs much and the job's memory is the limit."""

_DEFAULT_SHM = 64_000 << 10
"""podman's default size of /dev/shm, in bytes. A user's --shm-size of exactly this size is not recognized."""


def _devices(config: Config) -> Iterator[str]:
    """Remove devices that the runtime makes by itself, and a privileged container's list of the login node's devices.

    An unprivileged runtime can't make device nodes; crun and runc bind the node's own, and fail if the node has none.
    A privileged container lists all devices of the login node, but the compute node has others. A single device that
    the user asked for stays, because the container should not start without it.
    """
    everything = _is_privileged(config)
    linux = config.get("linux", {})
    kept = []
    for device in linux.get("devices", []):
        if device["path"] in _DEFAULT_DEVICES:
            yield f"device {device['path']} left to the node's runtime, which always makes it"
        elif everything:
            yield f"device {device['path']} left out: a privileged container gets no list of the login node's devices"
        else:
            kept.append(device)
    if "devices" in linux:
        linux["devices"] = kept


def _bound_devices(config: Config) -> Iterator[str]:
    """Do what :func:`_devices` does for the config of a rootless podman, which binds device nodes."""
    everything = _is_privileged(config)
    kept = []
    for mount in config.get("mounts", []):
        path = mount["destination"]
        if not is_bind(mount) or mount.get("source") != path or not path.startswith("/dev/"):
            kept.append(mount)
        elif path in _DEFAULT_DEVICES:
            yield f"device {path} left to the node's runtime, which always makes it"
        elif everything and path not in (_SHM, "/dev/mqueue", "/dev/pts"):
            yield f"device {path} left out: a privileged container gets no list of the login node's devices"
        else:
            kept.append(mount)
    _put(config, kept)


def _devices_elsewhere(config: Config) -> Iterator[str]:
    """Bind a device that has another name in the container, because the node has no device of that name."""
    linux = config.get("linux", {})
    kept = []
    for device in linux.get("devices", []):
        path, place = device["path"], _place(device)
        if place in ("", path):
            kept.append(device)
            continue
        config.setdefault("mounts", []).append(
            {"destination": path, "type": "bind", "source": place, "options": ["bind", "nosuid", "noexec"]}
        )
        yield f"device {path} becomes a bind of the node's {place}"
    if "devices" in linux:
        linux["devices"] = kept


def _place(device: Device) -> str:
    """The path of the device with these numbers on every node; "" where paths differ between machines."""
    major, minor = device.get("major", -1), device.get("minor", -1)
    if device.get("type") not in ("c", "u") or minor < 0:
        return ""
    if major == _NVIDIA and minor < 254:
        return f"/dev/nvidia{minor}"
    if major == _DRI and (minor < 64 or 128 <= minor < 192):
        return f"/dev/dri/{'card' if minor < 64 else 'renderD'}{minor}"
    return _PLACES.get((major, minor), "")


def _shared_memory(config: Config) -> Iterator[str]:
    # podman binds a tmpfs of the login node. A bind of /dev/shm itself (--ipc=host) is the node's, and stays.
    for mount in config.get("mounts", []):
        if mount["destination"] == _SHM and is_bind(mount) and mount.get("source") != _SHM:
            size = _chosen_size(mount.get("source", ""))
            read_only = [word for word in mount.get("options", []) if word == "ro"]  # podman's --read-only-tmpfs=false
            options = [*_PRIVATE_SHM, *([f"size={size}"] if size else []), *read_only]
            mount |= {"type": "tmpfs", "source": "shm", "options": options}
            yield f"{_SHM} becomes a tmpfs of the container's own: the engine's is on its machine"


def share_memory(config: Config) -> Iterator[str]:
    """Replace the container's own /dev/shm by the node's."""
    for mount in config.get("mounts", []):
        if mount["destination"] == _SHM and mount.get("source") != _SHM:
            mount |= {"type": "bind", "source": _SHM, "options": ["rbind", "nosuid", "nodev", "noexec"]}
            yield f"{_SHM} becomes a bind of the node's, for the tasks of an MPI program"


def _chosen_size(source: str) -> int:
    """The size in bytes of podman's tmpfs if the user chose the size (--shm-size); 0 for podman's default."""
    try:
        status = os.statvfs(source)
    except OSError:
        return 0
    size = status.f_frsize * status.f_blocks
    return size if os.path.ismount(source) and size != _DEFAULT_SHM else 0


def _id_mapped(config: Config) -> Iterator[str]:
    # An id-mapped mount fails unprivileged; as root it would map to the login node's subordinate ids.
    for mount in config.get("mounts", []):
        mapped = mount.pop("uidMappings", None), mount.pop("gidMappings", None)
        options = [option for option in mount.get("options", []) if option.split("=")[0] not in ("idmap", "ridmap")]
        if any(mapped) or len(options) != len(mount.get("options", [])):
            mount["options"] = options
            yield f"mount {mount['destination']} isn't id-mapped: its files keep their owners"


def _owner_options(config: Config) -> Iterator[str]:
    # An id that isn't mapped is EINVAL, and every engine writes gid=5 (tty) for /dev/pts.
    uid, gid = process_ids(config)
    for mount in config.get("mounts", []):
        if is_bind(mount):
            continue
        for option in list(mount.get("options", [])):
            name, _, value = option.partition("=")
            if (name == "uid" and value != str(uid)) or (name == "gid" and value != str(gid)):
                mount["options"].remove(option)
                yield f"option {option} of mount {mount['destination']} left out: that id isn't mapped"


def _kernel_file_systems(config: Config) -> Iterator[str]:
    """Replace file systems that show one of the node's namespaces.

    The kernel mounts sysfs, proc and mqueue only in the user namespace that owns the shown namespace (else EPERM).
    """
    kept = []
    for mount in config.get("mounts", []):
        kind = mount.get("type")
        if kind == "sysfs" and not has_namespace(config, "network"):
            _bind_recursively(mount, "/sys")
            yield f"{mount['destination']} becomes a bind of the node's: its network namespace is the node's"
        elif kind == "proc" and not has_namespace(config, "pid"):
            _bind_recursively(mount, "/proc")
            yield f"{mount['destination']} becomes a bind of the node's: its pid namespace is the node's"
        elif kind == "mqueue" and not has_namespace(config, "ipc"):
            # Not bound: /dev/mqueue isn't mounted on every node.
            yield f"{mount['destination']} left out: the container has the node's ipc namespace"
            continue
        kept.append(mount)
    _put(config, kept)


def _bind_recursively(mount: Mount, source: str) -> None:
    # Recursively, because another user namespace can't separate it from the mounts below it (mount_namespaces(7)).
    options = [option for option in mount.get("options", []) if option not in ("bind", "rbind")]
    mount |= {"type": "bind", "source": source, "options": ["rbind", *options]}


def _is_privileged(config: Config) -> bool:
    """Whether the container is privileged: docker allows all devices in the cgroup, podman writes an annotation."""
    rules = config.get("linux", {}).get("resources", {}).get("devices", [])
    everything = any(r["allow"] and r.get("type", "a") == "a" and "major" not in r and "minor" not in r for r in rules)
    return everything or config.get("annotations", {}).get("io.podman.annotations.privileged") == "TRUE"


def _put(config: Config, mounts: list[Mount]) -> None:
    if "mounts" in config:
        config["mounts"] = mounts


DEVICES = (_devices, _bound_devices)

EVERY_JOB = (_shared_memory, _id_mapped)

UNPRIVILEGED = (_devices_elsewhere, _owner_options, _kernel_file_systems)

WITHOUT_NAMESPACE = (_kernel_file_systems,)
