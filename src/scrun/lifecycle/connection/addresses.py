"""By which of its addresses this host is reached from the nodes."""

from __future__ import annotations

import _socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_DISCARD = 9  # a port; nothing is sent to it
_MOST = 16  # addresses that are tried in turn


def towards(hosts: Iterable[str]) -> list[str]:
    """This host's addresses as the kernel chooses them towards these hosts, each once, loopback last.

    A name is looked up, which may take as long as a name server's answer: call it in a worker. A host that has no
    address, or to which there is no way, adds nothing.
    """
    seen: dict[str, None] = {}
    for host in hosts:
        for family, address in _addresses(host):
            if own := _own_towards(family, address):
                seen[own] = None
    return sorted(seen, key=lambda own: own == "::1" or own.startswith("127."))[:_MOST]


def _addresses(host: str) -> list[tuple[int, tuple[object, ...]]]:
    try:
        # As bytes: for a string Python imports the rules of international names, which takes 3 ms.
        found = _socket.getaddrinfo(host.encode("ascii"), _DISCARD, 0, _socket.SOCK_DGRAM)
    except (OSError, UnicodeError):  # gaierror
        return []
    return [(family, address) for family, _type, _protocol, _name, address in found]


def _own_towards(family: int, address: tuple[object, ...]) -> str:
    """Have the kernel choose, by a connected UDP socket: nothing is sent."""
    try:
        probe = _socket.socket(family, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    except OSError:
        return ""
    try:
        probe.connect(address)
        own = str(probe.getsockname()[0])
    except OSError:
        return ""
    finally:
        probe.close()
    if own.startswith("fe80:"):  # good on one link only, by a name that the node doesn't know
        return ""
    return own
