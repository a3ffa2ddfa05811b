"""What an engine's own files and processes say of a container's network: a published port, a network by its name.

docker writes both into hostconfig.json, beside the resolv.conf that it mounts. podman's pasta has the ports on its
command line; for a bridge, podman holds the ports' sockets open, which create inherits, and a network of the user's has
a search domain in resolv.conf. Without root podman's own choice is pasta, so that a bridge was asked for.
"""

from __future__ import annotations

import _socket
import os
import stat
from itertools import pairwise

from scrun import fastjson, identity
from scrun.digits import is_number
from scrun.lifecycle.container import network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NamedTuple

    from scrun.oci import Config
else:
    from scrun.named_tuple import NamedTuple

_MOST = 1 << 20  # bytes of a file that is read
_DOCKERS_OWN = ("", "default", "bridge", "nat")  # NetworkMode where nobody named a network
_NEAREST = 64  # processes that began just before this one: pasta is mostly one of them
_PROGRAMS = ("pasta", "pasta.avx2", "slirp4netns")


class Asked(NamedTuple):
    """Whether the engine's network was asked for, and a reason in words."""

    for_engine: bool
    why: str


def asked(config: Config, container_id: str) -> Asked:
    """Look at what the engine says of the container."""
    if host_config := _docker(config, container_id):
        return _of_docker(host_config)
    if is_podmans(config):
        return _of_podman(config)
    return Asked(False, "nothing tells that a port is published or a network named")


def is_podmans(config: Config) -> bool:
    """Whether podman has made the container."""
    return (config.get("annotations") or {}).get("io.container.manager") == "libpod"


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


def _docker(config: Config, container_id: str) -> dict[str, Any]:
    """docker's hostconfig.json; empty where there is none."""
    directory = os.path.dirname(source(config, "/etc/resolv.conf"))
    if os.path.basename(directory) != container_id:
        return {}
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
        return Asked(False, "podman says only later whether a port is published")
    if arguments := _arguments_with(path):
        if _publishes(arguments):
            return Asked(True, "pasta publishes a port")
        return Asked(False, f"{os.path.basename(arguments[0])} is not told of a published port")
    if network.is_bridged(path):
        return Asked(True, "a bridge of podman's was named")
    return Asked(False, "no process says whether a port is published")


def _publishes(arguments: list[str]) -> bool:
    """Whether pasta forwards a port to the container (passt(1), -t and -u)."""
    options = ("-t", "-u", "--tcp-ports", "--udp-ports")
    return any(option in options and told != "none" for option, told in pairwise(arguments))


def pastas_ports(config: Config) -> list[list[int]]:
    """The container's ports that pasta publishes by TCP, as podman says it: ``-t ADDRESS/8081-8082:80-81``."""
    arguments, found = _arguments_with(namespace(config)), []
    for option, told in pairwise(arguments):
        if option not in ("-t", "--tcp-ports"):
            continue
        for part in told.split(","):
            first, _dash, last = part.rpartition(":")[2].rpartition("/")[2].partition("-")
            if _is_port(first) and _is_port(last or first):
                found.append([int(first), int(last or first)])
    return found


def _is_port(text: str) -> bool:
    return len(text) <= len("65535") and is_number(text) and 0 < int(text) < 1 << 16


def _arguments_with(path: str) -> list[str]:
    """The command line of the process of ours that serves this network namespace; empty if none can be seen.

    Another user may have given a process of his that name and these arguments.
    """
    for pid in _processes():
        try:
            if os.stat(f"/proc/{pid}").st_uid != os.geteuid():
                continue
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                if file.read().rstrip("\n") not in _PROGRAMS:
                    continue
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="surrogateescape") as file:
                arguments = file.read().split("\0")
        except OSError:
            continue
        if path in arguments:
            return arguments
    return []


def _processes() -> Iterator[int]:
    """Pids, those that began just before this process first."""
    own = os.getpid()
    yield from range(own - 1, max(1, own - _NEAREST), -1)
    yield from sorted((int(name) for name in os.listdir("/proc") if name.isdecimal()), reverse=True)


def _holds_ports() -> bool:
    """Whether this process has inherited a socket that is bound to a port, as podman's conmon has for each port."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode) and _port(int(name)):
                return True
        except OSError:
            continue
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
