"""What an engine's own files and processes say of a container's network: a published port, a network by its name.

docker writes both into hostconfig.json, beside the resolv.conf that it mounts. podman's pasta or slirp4netns tells of
ports (:mod:`scrun.lifecycle.container.network_programs`), or a pipe of conmon's where they begin only after create. For
a bridge, root's podman holds the ports' sockets open, which create inherits, and a network of the user's has a search
domain in resolv.conf. Without root podman's own choice is pasta, so that a bridge was asked for.
"""

from __future__ import annotations

import _socket
import os
import stat

from scrun import fastjson, identity
from scrun.digits import is_number
from scrun.lifecycle.container import network, network_programs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    from scrun.oci import Config
else:
    from scrun.named_tuple import NamedTuple

_MOST = 1 << 20  # bytes of a file that is read
_DOCKERS_OWN = ("", "default", "bridge", "nat")  # NetworkMode where nobody named a network
_PODMANS_HOST = ("host.containers.internal", "host.docker.internal")
_GATEWAY = "host-gateway"  # dockerd's word for its host's address in an --add-host
_CONMONS_LAST, _LONG = "_OCI_STARTPIPE", 9  # a variable with the last descriptor of conmon's own; digits


class Asked(NamedTuple):
    """Whether the engine's network was asked for, and a reason in words."""

    for_engine: bool
    why: str


def asked(config: Config, container_id: str) -> Asked:
    """Look at what the engine says of the container."""
    directory = os.path.dirname(source(config, "/etc/resolv.conf"))
    if os.path.basename(directory) == container_id and (host_config := _docker(directory)):
        return _of_docker(host_config)
    if is_podmans(config):
        return _of_podman(config)
    return Asked(False, "nothing tells that a port is published or a network named")


def is_podmans(config: Config) -> bool:
    """Whether podman has made the container."""
    return (config.get("annotations") or {}).get("io.container.manager") == "libpod"


def gateways(config: Config) -> list[str]:
    """The names that the engine gives its own host in /etc/hosts: docker those of ``--add-host NAME:host-gateway``."""
    if is_podmans(config):
        return [*_PODMANS_HOST]
    directory = os.path.dirname(source(config, "/etc/hosts"))
    if not directory.startswith("/"):
        return []
    entries = _docker(directory).get("ExtraHosts")
    return [
        entry.removesuffix(_GATEWAY)[:-1]
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, str) and entry.endswith(_GATEWAY)
    ]


def namespace(config: Config) -> str:
    """The path of the container's network namespace; empty where a new one was asked for, or none."""
    for entry in (config.get("linux") or {}).get("namespaces") or ():
        if entry["type"] == "network":
            return entry.get("path") or ""
    return ""


def is_anothers(config: Config) -> bool:
    """Whether the network namespace is named by a process in it: then it is another container's."""
    parts = namespace(config).split("/")
    return parts[:2] == ["", "proc"] and parts[3:] == ["ns", "net"]


def source(config: Config, destination: str) -> str:
    """The path of the file that is mounted there; empty if there is none."""
    for mount in reversed(config.get("mounts") or []):
        if mount["destination"] == destination:
            return mount.get("source") or ""
    return ""


def _docker(directory: str) -> dict[str, Any]:
    """docker's hostconfig.json; empty where there is none."""
    read = _read(f"{directory}/hostconfig.json")
    try:
        host_config = fastjson.loads(read) if read else {}
    except (ValueError, RecursionError):
        return {}
    return host_config if isinstance(host_config, dict) else {}


def _of_docker(host_config: dict[str, Any]) -> Asked:
    mode = str(host_config.get("NetworkMode") or "")
    if host_config.get("PortBindings") or host_config.get("PublishAllPorts"):
        return Asked(True, "docker publishes a port")
    if mode not in (*_DOCKERS_OWN, "none", "host") and not mode.startswith("container:"):
        return Asked(True, f"docker's network {mode} was named")
    return Asked(False, "docker publishes no port, and no network was named")


def _of_podman(config: Config) -> Asked:
    if "dns.podman" in _read(source(config, "/etc/resolv.conf")).split():
        return Asked(True, "a network of podman's was named")
    if identity.is_machines_root():
        if _holds_ports():
            return Asked(True, "podman publishes a port")
        return Asked(False, "podman publishes no port, and no network with names was named")
    path = namespace(config)
    if not path:
        if _holds_pipes():
            return Asked(True, "podman will publish a port when the container is there")
        return Asked(False, "podman will publish no port when the container is there")
    if arguments := network_programs.serving(path):
        program = os.path.basename(arguments[0])
        if network_programs.publishes(arguments, path):
            return Asked(True, f"{program} publishes a port")
        return Asked(False, f"{program} is not told of a published port")
    if network.is_bridged(path):
        return Asked(True, "a bridge of podman's was named")
    return Asked(False, "no process says whether a port is published")


def _holds_ports() -> bool:
    """Whether this process has inherited a socket that is bound to a port, as podman's conmon has for each port."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode) and _port(int(name)):
                return True
        except OSError:
            continue
    return False


def _holds_pipes() -> bool:
    """Whether podman will publish a port after create, as it does with ``--userns=keep-id``.

    Beyond conmon's own two pipes, whose numbers it says, conmon has one then by which the network's program notices its
    end, and another for rootlessport, which is there only for ports, whoever leads them. create inherits both.
    """
    last = os.environ.get(_CONMONS_LAST, "")
    return len(last) < _LONG and is_number(last) and all(_is_inherited_pipe(int(last) + more) for more in (1, 2))


def _is_inherited_pipe(descriptor: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode) and os.get_inheritable(descriptor)
    except OSError:
        return False


def _port(descriptor: int) -> int:
    one = _socket.socket(fileno=os.dup(descriptor))
    try:
        return int(one.getsockname()[1]) if one.family in (_socket.AF_INET, _socket.AF_INET6) else 0
    finally:
        one.close()


def _read(path: str) -> str:
    """The text of a regular file; empty if there is none, or it is longer than those are."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        status = os.fstat(descriptor)
        is_good = stat.S_ISREG(status.st_mode) and status.st_size < _MOST
        return os.read(descriptor, _MOST).decode("utf-8", "replace") if is_good else ""
    except OSError:
        return ""
    finally:
        os.close(descriptor)
