"""spec: write an example of a config.json."""

from __future__ import annotations

import json
import os

from scrun import OCI_VERSION
from scrun.errors import BundleError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.oci import Config, Mount

_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_SAFE = ("nosuid", "noexec", "nodev")


def write_config(bundle: str, file: str) -> None:
    """Write :func:`document` to ``file``, a path relative to ``bundle``.

    Raises:
        BundleError: the file exists already, or can't be written.
    """
    path = os.path.normpath(os.path.join(bundle, file))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise BundleError(f"{path} exists: remove it first, or name another file with --file") from None
    except OSError as error:
        raise BundleError(f"can't write {path}: {error.strerror}") from error
    with open(descriptor, "w", encoding="utf-8") as config:
        config.write(json.dumps(document(), indent=2) + "\n")


def document() -> Config:
    """A config for a shell at a terminal, with the root filesystem in the directory rootfs.

    It is like runc's example. Limits, cgroups, device rules and a network namespace are left out, because scrun would
    remove them: the job has its own limits, and the node's network is used.
    """
    return {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {name: list(_CAPABILITIES) for name in ("bounding", "effective", "permitted")},
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "scrun",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            _mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
            _mount("/dev/shm", "tmpfs", "shm", *_SAFE, "mode=1777", "size=65536k"),  # noqa: S108  the container's
            _mount("/dev/mqueue", "mqueue", "mqueue", *_SAFE),
            _mount("/sys", "sysfs", "sysfs", *_SAFE, "ro"),
        ],
        "linux": {
            "namespaces": [{"type": name} for name in ("pid", "ipc", "uts", "mount")],
            "maskedPaths": [
                *("/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/scsi"),
                *("/proc/sched_debug", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware"),
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }


def _mount(destination: str, kind: str, source: str, *options: str) -> Mount:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}
