"""Which container of which boot of which host a job belongs to: a mark in the job itself (Slurm's ContainerID).

Whoever reads the mark later can tell whether the container is gone and its job was left: after a reboot nobody else
knows of that job. A mark is read like this::

    ID@HOST/MACHINE.BOOT.PIDS.NETWORK.PID.STARTED.ROOT
    box@login/5f2c81aa.c0ffee12a3b4.effffffc.f0000001.4711.815.1b2c3d4e

ID is the container's, HOST this host's name, MACHINE a checksum of what identifies the machine across boots, BOOT the
beginning of the kernel's boot id, PIDS and NETWORK the namespaces that the anchor is in, PID and STARTED the anchor
itself, ROOT a checksum of ``--root``. All numbers are hexadecimal.
"""

from __future__ import annotations

import binascii
import os
import time

from scrun.lifecycle.process import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from scrun.named_tuple import NamedTuple

_MACHINE_ID, _TRANSIENT = (
    "/etc/machine-id",
    "/run/machine-id",
)  # the second is there when the first is of this boot only
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_NETWORK_DEVICES = "/sys/class/net"
_LONGEST_ID = 128  # characters; the id is for people
_CLOCKS = 60.0  # seconds that slurmctld's clock may be ahead of ours


class Host(NamedTuple):
    """This host as it is now. ``machine`` is empty where nothing identifies it across boots."""

    name: str
    machine: str
    boot: str
    pids: str
    network: str

    def __str__(self) -> str:
        """The mark's part that names the host."""
        return f"{self.name}/{self.machine}.{self.boot}.{self.pids}.{self.network}"


class Mark(NamedTuple):
    """A job's mark, taken apart."""

    container: str
    host: Host
    pid: int
    started: int
    root: str


def here() -> Host:
    """This host, as the calling process sees it."""
    # A /proc of another pid namespace would tell lies about pids.
    sees_itself = os.readlink("/proc/self") == str(os.getpid())
    return Host(
        os.uname().nodename,
        _machine(),
        _read(_BOOT_ID).replace("-", "")[:12],
        _namespace("pid") if sees_itself else "0",
        _namespace("net"),
    )


def mark(container_id: str, root: str, anchor: int) -> str:
    """The mark for the job of a container that has this anchor."""
    started = processes.start_time(anchor)
    return f"{container_id[:_LONGEST_ID]}@{here()}.{anchor:x}.{started:x}.{checksum(root)}"


def parse(text: str) -> Mark | None:
    """What a job's ContainerID says; None when it is no mark of ours."""
    container, at, rest = text.partition("@")
    name, slash, rest = rest.partition("/")
    parts = rest.split(".")
    if not (at and slash and len(parts) == 7):
        return None
    machine, boot, pids, network, pid, started, root = parts
    try:
        return Mark(container, Host(name, machine, boot, pids, network), int(pid, 16), int(started, 16), root)
    except ValueError:
        return None


def checksum(text: str) -> str:
    """Eight hexadecimal digits that stand for a text."""
    return f"{binascii.crc32(text.encode('utf-8', 'surrogateescape')):08x}"


def is_same_machine(one: Host, other: Host) -> bool:
    """Whether both are the same host, in whatever boot; False where nothing says so for sure."""
    return bool(one.machine) and (one.name, one.machine) == (other.name, other.machine)


def is_gone(left: Mark, now: Host, submitted: float) -> bool:
    """Whether the container that a job belongs to is gone, for sure; ``submitted`` is when the job was (1970 is 0).

    Only the host that the container was created on can tell, and it says no when in doubt.
    """
    then = left.host
    if not is_same_machine(then, now):
        return False
    if then.boot != now.boot:
        # A job younger than this boot is some other host's that calls itself the same.
        return submitted <= _boot_time() + _first_process()[1] + _CLOCKS
    if then.pids == now.pids:
        return now.pids != "0" and not processes.is_alive(left.pid, left.started)
    # Another pid namespace of the same boot. Where the host itself is a container, it was restarted since, if the
    # network is another too; else both may live side by side.
    owner, began = _first_process()
    ticks = os.sysconf("SC_CLK_TCK")
    return then.network != now.network and owner == 0 and 0 < left.started / ticks < began


def _machine() -> str:
    """A checksum of the machine's id or, where that changes with each boot, of its network cards; empty without any."""
    identity = "" if os.path.exists(_TRANSIENT) else _read(_MACHINE_ID)
    if len(identity) != 32:  # machine-id(5); "uninitialized" is one too
        try:
            names = os.listdir(_NETWORK_DEVICES)
        except OSError:
            names = []
        cards = {
            _read(f"{_NETWORK_DEVICES}/{name}/address")
            for name in names
            if os.path.exists(f"{_NETWORK_DEVICES}/{name}/device")  # not a bridge, a tunnel, a container's
        }
        identity = " ".join(sorted(cards - {""}))
    return checksum(identity) if identity else ""


def _namespace(kind: str) -> str:
    try:
        return f"{os.stat(f'/proc/self/ns/{kind}').st_ino:x}"
    except OSError:
        return "0"


def _boot_time() -> float:
    """When the kernel was booted, in seconds since 1970."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _first_process() -> tuple[int, float]:
    """Who owns this host's first process, and how many seconds after the kernel's boot it began: -1, 0 if hidden."""
    try:
        owner = os.stat("/proc/1").st_uid
    except OSError:  # /proc is mounted with hidepid
        return -1, 0.0
    return owner, processes.start_time(1) / os.sysconf("SC_CLK_TCK")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
