"""Listen for the nodes of a job, on a port that they can reach."""

from __future__ import annotations

import _socket  # socket itself brings enum and selectors with it: a megabyte for each anchor
import errno

_BACKLOG = 128  # connections that the kernel keeps until they are accepted


def listen(ports: tuple[int, int]) -> int:
    """A listening socket on one of the ports, for IPv4 and IPv6 where the host has both; the result is a descriptor.

    Args:
        ports: the first and the last port (SrunPortRange); (0, 0) for any port.

    Raises:
        OSError: no port is free.
    """
    for port in range(ports[0], ports[1] + 1):
        try:
            return _listen_on(port)
        except OSError:
            if port == ports[1]:
                raise
    raise OSError(errno.EADDRNOTAVAIL, f"SrunPortRange {ports[0]}-{ports[1]} has no port")


def _listen_on(port: int) -> int:
    listener, address = _new()
    try:
        # A port whose last connections are still ending can be taken (socket(7)).
        listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(_BACKLOG)
        return listener.detach()
    finally:
        listener.close()  # nothing when it was detached


def _new() -> tuple[_socket.socket, str]:
    """A socket that serves both families, or IPv4 alone on a host that has no IPv6; and its wildcard address."""
    kind = _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC
    try:
        both = _socket.socket(_socket.AF_INET6, kind)
    except OSError:
        return _socket.socket(_socket.AF_INET, kind), "0.0.0.0"  # noqa: S104 (nodes are to reach it)
    try:
        both.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 0)
    except OSError:
        both.close()
        return _socket.socket(_socket.AF_INET, kind), "0.0.0.0"  # noqa: S104
    return both, "::"
