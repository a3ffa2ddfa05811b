"""Which network a container gets on its node: the engine's, the node's own, or a new one with nothing but a loopback.

docker and podman give a container a network namespace on their machine, and a bridge or pasta leads out of it. With the
engine's network (docs/networking.md) the container's frames go through that namespace. Without it, the namespace tells
what was asked for: where a way leads out, the container uses the network of its node; where none does (``--network
none``, an internal network), it has none there either. In doubt it has none.
"""

from __future__ import annotations

import _socket
import os
import sys

from scrun.lifecycle.container.staging_plan import ENGINES_NETWORK
from scrun.lifecycle.process import fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    from scrun.oci import Config

    class Hook(TypedDict):
        """A program of the engine's that is to be run with the state of the container."""

        path: str
        args: list[str]
        timeout: int  # seconds; 0: the engine says nothing
        oci_version: str  # for the state
        bundle: str


HOST = "host"  # no namespace was asked for, or it is this machine's own
NODE = "node"  # the engine made one, and a way leads out of it
NONE = "none"
LATER = "later"  # a new one was asked for; whether the engine leads a way out of it is seen at start
JOINED = "joined"  # that of another container in the same job, which has the engine's
ENGINE = ENGINES_NETWORK  # the engine's own, by a tunnel to its namespace on this host

_SET_KEY = "libnetwork-setkey"
_DOCKERD = "dockerd"
_REJECT = 0x200  # RTF_REJECT, of linux/route.h: an unreachable route
_LOOPBACK = "lo"


def wanted(config: Config) -> str:
    """What a config asks for: one of the four."""
    for namespace in (config.get("linux") or {}).get("namespaces") or ():
        if namespace["type"] == "network":
            path = namespace.get("path")
            if not path:
                return LATER
            if is_ours(path):
                return HOST
            return NODE if _leads_out_of(path) else NONE
    return HOST


def engines_hook(config: Config, bundle: str) -> Hook | None:
    """The hook that tells the engine of a new namespace, for it to configure; None where it finds it by itself.

    docker's daemon up to release 26 has its own program called so, where later ones take the container's pid. A bundle
    must not make us run anything else, because another user may have written it: the program has to be dockerd's, of a
    process of our own user, and gets no environment, by which a bundle could have a library loaded.
    """
    for hook in (config.get("hooks") or {}).get("prestart") or ():
        path, args = hook["path"], hook.get("args") or [""]
        process, exe = os.path.split(path)
        parent, pid = os.path.split(process)
        if args[0] == _SET_KEY and (parent, exe) == ("/proc", "exe") and pid.isdecimal() and _is_our_dockerd(process):
            return {
                "path": path,
                "args": args,
                "timeout": hook.get("timeout") or 0,
                "oci_version": config["ociVersion"],
                "bundle": bundle,
            }
    return None


def _is_our_dockerd(process: str) -> bool:
    try:
        program = os.readlink(f"{process}/exe").removesuffix(" (deleted)")  # an upgrade has replaced it
        return os.stat(process).st_uid == os.geteuid() and os.path.basename(program) == _DOCKERD
    except OSError:
        return False


def leads_out(directory: str) -> bool:
    """Whether there is a default route in the network namespace that is described in ``/proc/PID/net``.

    Not whether there are interfaces: a new namespace may be born with some (tunl0, sit0), and an internal network has
    one as well.
    """
    try:
        with open(f"{directory}/route", encoding="utf-8") as file:
            for line in file.read().splitlines()[1:]:
                # Iface Destination Gateway Flags RefCnt Use Metric Mask
                fields = line.split()
                if fields[1] == fields[7] == "00000000" and not int(fields[3], 16) & _REJECT:
                    return True
        with open(f"{directory}/ipv6_route", encoding="utf-8") as file:
            for line in file.read().splitlines():
                # destination, its prefix's length, source, its length, gateway, metric, two counters, flags, Iface
                fields = line.split()
                if fields[1] == "00" and fields[9] != _LOOPBACK and not int(fields[8], 16) & _REJECT:
                    return True
    except (OSError, ValueError, IndexError):
        return False
    return False


def is_ours(path: str) -> bool:
    """Whether the namespace is the one that we are in, as docker writes --network host."""
    try:
        return os.path.samestat(os.stat(path), os.stat("/proc/self/ns/net"))
    except OSError:
        return False


def is_bridged(path: str) -> bool:
    """Whether the namespace has an end of a bridge's (veth(4)), and no TAP interface as pasta makes one."""
    return os.waitstatus_to_exitcode(_look_into(path)) & _BRIDGED > 0


def _leads_out_of(path: str) -> bool:
    """:func:`leads_out`, seen from inside that namespace."""
    return not os.waitstatus_to_exitcode(_look_into(path)) & (_NO_WAY | _FAILED)


_FAILED, _NO_WAY, _BRIDGED = 1, 2, 4  # bits of an exit status; a child that fails ends with 1


def _look_into(path: str) -> int:
    """The wait status of a child that has looked: there may be no way back out of a namespace."""

    def look() -> int:
        _enter(path)
        return (0 if leads_out("/proc/self/net") else _NO_WAY) | (_BRIDGED if _has_veth() else 0)

    return os.waitpid(fork.child(look), 0)[1]


_GET_DRIVER, _SIZE = (3).to_bytes(4, sys.byteorder), 196  # ETHTOOL_GDRVINFO, struct ethtool_drvinfo
_SIOCETHTOOL = 0x8946


def _has_veth() -> bool:
    """Whether an interface of this process's namespace is one of a pair, as a bridge's are."""
    import array
    import fcntl
    import struct

    with open("/proc/self/net/dev", encoding="utf-8") as file:
        names = [line.partition(":")[0].strip() for line in file.read().splitlines()[2:]]
    asking = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    for name in names:
        answer = array.array("B", _GET_DRIVER + bytes(_SIZE - len(_GET_DRIVER)))
        request = struct.pack("16sP16x", name.encode(), answer.buffer_info()[0])
        try:
            fcntl.ioctl(asking.fileno(), _SIOCETHTOOL, request)
        except OSError:
            continue
        if answer.tobytes()[4:].startswith(b"veth\0"):
            return True
    return False


_CLONE_NEWNET = 0x40000000  # setns(2); os has it from Python 3.12 on


def _enter(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe has no writer
    if hasattr(os, "setns"):
        os.setns(descriptor, _CLONE_NEWNET)
        return
    import ctypes  # Python 3.11

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
