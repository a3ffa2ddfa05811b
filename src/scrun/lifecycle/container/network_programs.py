"""The programs that lead in and out of a rootless podman's network namespace, and what their command lines tell.

pasta has the published ports on its command line. slirp4netns has a socket on which it is told of ports, or podman's
rootlessport leads them from a process in the namespace.
"""

from __future__ import annotations

import os
from itertools import pairwise

from scrun.digits import is_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SLIRP = "slirp4netns"
_PROGRAMS = ("pasta", "pasta.avx2", SLIRP)
_ROOTLESSPORT = "rootlessport"
_NEAREST = 64  # processes that began just before this one: pasta is mostly one of them


def serving(path: str) -> list[str]:
    """The command line of the process of ours that serves the network namespace at a path; empty if none can be seen.

    Args:
        path: as the engine writes it; empty where it names none.
    """
    for arguments in _command_lines() if path else ():
        if path in arguments:
            return arguments
    return []


def serving_same(namespace: int) -> list[str]:
    """The same for the namespace that a descriptor leads to, whatever its path."""
    wanted = os.fstat(namespace)
    for arguments in _command_lines():
        for word in arguments[1:]:
            try:
                if word.startswith("/") and os.path.samestat(os.stat(word), wanted):
                    return arguments
            except OSError:
                continue
    return []


def publishes(arguments: list[str], path: str) -> bool:
    """Whether a port is led to the container.

    Args:
        arguments: the command line of the program that serves its namespace (passt(1), -t and -u; slirp4netns(1),
            --api-socket).
        path: the namespace's.
    """
    if os.path.basename(arguments[0]) == SLIRP:
        return "--api-socket" in arguments or any(
            name == _ROOTLESSPORT and _is_in(pid, path) for pid, name in _own_processes()
        )
    options = ("-t", "-u", "--tcp-ports", "--udp-ports")
    return any(option in options and told != "none" for option, told in pairwise(arguments))


def pastas_ports(arguments: list[str]) -> list[list[int]]:
    """The container's ports that pasta publishes by TCP, as podman says it: ``-t ADDRESS/8081-8082:80-81``."""
    found = []
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


def _is_in(pid: int, path: str) -> bool:
    """Whether a process is in that network namespace."""
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/ns/net"), os.stat(path))
    except OSError:
        return False


def _command_lines() -> Iterator[list[str]]:
    """Of each process of ours that is such a program."""
    for pid, name in _own_processes():
        if name in _PROGRAMS:
            try:
                with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="surrogateescape") as file:
                    yield file.read().split("\0")
            except OSError:
                continue


def _own_processes() -> Iterator[tuple[int, str]]:
    """Pid and name of each process of ours: another user may have given a process of his any name and arguments."""
    for pid in _processes():
        try:
            if os.stat(f"/proc/{pid}").st_uid != os.geteuid():
                continue
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                yield pid, file.read().rstrip("\n")
        except OSError:
            continue


def _processes() -> Iterator[int]:
    """Pids, those that began just before this process first."""
    own = os.getpid()
    yield from range(own - 1, max(1, own - _NEAREST), -1)
    yield from sorted((int(name) for name in os.listdir("/proc") if name.isdecimal()), reverse=True)
