"""Bundles: a root filesystem of busybox alone, and the config.json to go with it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .users import User

BUSYBOX = Path("/bin/busybox")  # Debian's static one
APPLETS = (
    *(
        "cat",
        "dd",
        "echo",
        "env",
        "false",
        "grep",
        "head",
        "hostname",
        "id",
        "ip",
        "kill",
        "ls",
        "mkdir",
        "mktemp",
        "nproc",
    ),
    *(
        "printf",
        "pwd",
        "readlink",
        "rm",
        "seq",
        "sh",
        "sha256sum",
        "sleep",
        "stty",
        "tee",
        "touch",
        "tr",
        "true",
        "tty",
        "wc",
    ),
)
PATH = "PATH=/sbin:/bin"

Config = dict[str, Any]
Change = Callable[[Config], object]


def make_rootfs(path: Path, owner: User, busybox: Path) -> None:
    """A root filesystem; ``busybox`` is linked into it, not copied."""
    path.mkdir()
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        (path / name).mkdir()
    os.link(busybox, path / "bin/busybox")
    for applet in APPLETS:
        (path / "bin" / applet).symlink_to("busybox")
    (path / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    for below in (path, *path.rglob("*")):
        os.chown(below, owner.uid, owner.gid, follow_symlinks=False)


def copy_busybox(directory: Path, owner: User) -> Path:
    """One copy on the file system of the bundles, for all of them."""
    shutil.copy(BUSYBOX, directory / "busybox")
    os.chown(directory / "busybox", owner.uid, owner.gid)
    return directory / "busybox"


def config(args: Sequence[str], owner: User, *, env: Sequence[str] = (), terminal: bool = False) -> Config:
    """A config.json that both crun, called by ``owner``, and scrun take."""
    namespaces = [{"type": name} for name in ("pid", "ipc", "uts", "mount", *(("user",) if owner.uid else ()))]
    linux: Config = {"namespaces": namespaces}
    if owner.uid:
        linux["uidMappings"] = [{"containerID": 0, "hostID": owner.uid, "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": owner.gid, "size": 1}]
    capabilities = ["CAP_KILL"]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": terminal,
            "user": {"uid": 0, "gid": 0},
            "args": list(args),
            "env": [PATH, "TERM=xterm", *env],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "hostname": "container",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "mode=755", "size=65536k"],
            },
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
            },
        ],
        "linux": linux,
    }


def new_network(config: Config) -> None:
    """A change: ask for a network namespace."""
    config["linux"]["namespaces"].append({"type": "network"})


def write_config(bundle: Path, content: Config, owner: User) -> None:
    """Write BUNDLE/config.json."""
    owner.write(bundle / "config.json", json.dumps(content, indent=1))
