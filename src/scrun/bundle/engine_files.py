"""Adapt the engine's /etc/hosts and /etc/resolv.conf to the network of a node.

The container's address on a bridge or on pasta, and the engine's own name server, can't be reached from another
machine, so they are removed. So can't the address by which the engine lets containers reach its own host: there the
host's address towards the nodes takes its place. Entries of the user (``--add-host``, ``--dns``) stay.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

HOSTS, RESOLV_CONF = "/etc/hosts", "/etc/resolv.conf"
FILES = (HOSTS, RESOLV_CONF)

_ENGINES = ("127.", "::1", "169.254.", "fe80:", "10.0.2.3")
"""Beginnings of the addresses of engines' name servers: docker's 127.0.0.11, pasta's 169.254.1.1, slirp4netns's."""

_AARDVARK = "dns.podman"  # podman's search domain; the first name server is then podman's own, on the bridge


_PODMANS = "host.containers.internal"


def for_nodes_network(destination: str, data: bytes, *, host_name: str, machines: bytes) -> bytes:
    """Return the content of /etc/hosts or /etc/resolv.conf for a container on the node's network.

    The result is the same before and after the engine's network is set up, if the container sees no difference.

    Args:
        destination: the file's path in the container; other files than these two stay as they are.
        data: the engine's content.
        host_name: the container's host name.
        machines: the content of this machine's own file at that path.
    """
    if destination == HOSTS:
        return _hosts(data, machines, host_name)
    if destination == RESOLV_CONF:
        return _resolv_conf(data, machines)
    return data


def with_login(data: bytes, *, login: str, gateways: Collection[str]) -> bytes:
    """Return the content of /etc/hosts with the engine's own host at an address that the nodes reach.

    Args:
        data: the engine's content.
        login: the address; empty if it isn't known.
        gateways: the names that the engine gives its host. Their addresses are its host's, and those of other names as
            well: podman's user asks for such a name by host-gateway, too.
    """
    lines, engines, is_users = _lines(data), set(), True  # what podman's user has added comes before localhost
    for address, *names in filter(None, map(_words, lines)):
        is_users = is_users and "localhost" not in names
        if not is_users and any(name in gateways for name in names):
            engines.add(address)
    led: list[str] = []
    for line in lines:
        address, *_names = _words(line) or [""]
        if login and address in engines:
            line = line.replace(address, login, 1)
            if line in led:  # docker writes a line for each of its host's two addresses
                continue
        led.append(line)
    return data if led == lines else ("\n".join(led) + "\n").encode("utf-8", "surrogateescape")


def _hosts(data: bytes, machines: bytes, host_name: str) -> bytes:
    # The container's names must resolve. They resolve to the loopback address, because the container's other address is
    # the node's. podman writes what the user has added first, before localhost; its own line has the container's name
    # beside the host name. The machine's own file names the hosts of the cluster; podman copies it, unless it was told
    # otherwise (base_hosts_file in containers.conf), docker doesn't.
    kept: list[str] = []
    own = dict.fromkeys([host_name] if host_name else [])
    is_users, is_podmans = True, False
    for line in _lines(data):
        _address, *names = _words(line) or [""]
        is_users = is_users and "localhost" not in names
        is_podmans = is_podmans or _PODMANS in names
        if host_name not in names:
            kept.append(line)
        elif is_users:
            kept.append(line)
            own.pop(host_name, None)
        else:
            own.update(dict.fromkeys(name for name in names if name != host_name))
    known = {name for line in kept for name in _words(line)[1:]} | {host_name}
    for line in _lines(machines) if not is_podmans else ():
        words = _words(line)
        if len(words) > 1 and not words[0].startswith(_LOOPBACK) and not known.intersection(words[1:]):
            kept.append("\t".join((words[0], " ".join(words[1:]))))
    if own:
        kept.append(f"127.0.0.1\t{' '.join(own)}")
    return ("\n".join(kept) + "\n").encode("utf-8", "surrogateescape")


_LOOPBACK = ("127.", "::1", "fe00:", "ff0")


def _words(line: str) -> list[str]:
    return line.partition("#")[0].split()


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "surrogateescape").splitlines()


def _resolv_conf(data: bytes, machines: bytes) -> bytes:
    servers, before, after = _split(data)
    aardvark = any(line.split()[0] == "search" and _AARDVARK in line.split() for line in before + after)
    servers = [server for server in servers[1 if aardvark else 0 :] if not server.startswith(_ENGINES)]
    if not servers:
        servers = _split(machines)[0]
    lines = [*before, *(f"nameserver {server}" for server in servers), *after]
    lines = [line for line in (_without_aardvark(line) for line in lines) if line]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def _without_aardvark(line: str) -> str:
    words = [word for word in line.split() if word != _AARDVARK]
    return " ".join(words) if len(words) > 1 else ""


def _split(data: bytes) -> tuple[list[str], list[str], list[str]]:
    """The name servers, and the other lines before and after the first of them; without comments, because docker's
    change between runs."""
    servers: list[str] = []
    before: list[str] = []
    after: list[str] = []
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        if words[0] == "nameserver":
            servers += words[1:2]
        else:
            (after if servers else before).append(line)
    return servers, before, after
