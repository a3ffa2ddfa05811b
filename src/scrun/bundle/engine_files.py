"""/etc/hosts and /etc/resolv.conf as an engine writes them for its own network, made fit for the network of a node.

What is in them of a bridge or of pasta leads nowhere on another machine: the address that the container has there, and
the name server that the engine runs. What the user put there (``--add-host``, ``--dns``) stays.
"""

from __future__ import annotations

HOSTS, RESOLV_CONF = "/etc/hosts", "/etc/resolv.conf"
FILES = (HOSTS, RESOLV_CONF)

_ENGINES = ("127.", "::1", "169.254.", "fe80:", "10.0.2.3")
"""How the addresses of engines' own name servers begin: docker's 127.0.0.11, pasta's 169.254.1.1, slirp4netns's."""

_AARDVARK = "dns.podman"  # podman's search domain, where the first name server is its own, on the bridge


def fit(destination: str, data: bytes, *, host_name: str, machines: bytes) -> bytes:
    """The file for a container on the node's network; ``machines`` is this machine's own file of that name.

    The same whether the engine has set up its network yet or not, where that makes no difference to the container.
    """
    if destination == HOSTS:
        return _hosts(data, machines, host_name)
    if destination == RESOLV_CONF:
        return _resolv_conf(data, machines)
    return data


def _hosts(data: bytes, machines: bytes, host_name: str) -> bytes:
    # The container's own name must resolve: to what always is its own, as its address is the node's. The names that the
    # machine knows are the cluster's, which podman's file has and docker's hasn't.
    lines = _lines(data)
    kept = [line for line in lines if host_name not in _words(line)[1:]]
    known = {name for line in kept for name in _words(line)[1:]} | {host_name}
    for line in _lines(machines):
        words = _words(line)
        if len(words) > 1 and not words[0].startswith(_LOOPBACK) and not known.intersection(words[1:]):
            kept.append("\t".join((words[0], " ".join(words[1:]))))
    if host_name:
        kept.append(f"127.0.0.1\t{host_name}")
    return ("\n".join(kept) + "\n").encode("utf-8", "surrogateescape")


_LOOPBACK = ("127.", "::1", "fe00:", "ff0")


def _words(line: str) -> list[str]:
    return line.partition("#")[0].split()


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "surrogateescape").splitlines()


def _resolv_conf(data: bytes, machines: bytes) -> bytes:
    servers, others = _split(data)
    aardvark = any(line.split()[0] == "search" and _AARDVARK in line.split() for line in others)
    others = [line for line in (_without_aardvark(line) for line in others) if line]
    servers = [server for server in servers[1 if aardvark else 0 :] if not server.startswith(_ENGINES)]
    if not servers:
        servers = _split(machines)[0]
    lines = [*others, *(f"nameserver {server}" for server in servers)]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def _without_aardvark(line: str) -> str:
    words = [word for word in line.split() if word != _AARDVARK]
    return " ".join(words) if len(words) > 1 else ""


def _split(data: bytes) -> tuple[list[str], list[str]]:
    """The name servers, and the other lines; comments go, as docker changes its own."""
    servers, others = [], []
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        if words[0] == "nameserver":
            servers += words[1:2]
        else:
            others.append(line)
    return servers, others
