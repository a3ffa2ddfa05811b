"""Try a container: whether slurmstepd reads its config.json, and calls the node's runtime with it.

slurmstepd reads that file as root. A file server may prevent that (root_squash), and only slurmstepd can tell. The
bundle has no program, so the runtime refuses the container and names the program. That shows that it came so far.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from scrun import fastjson
from scrun.bundle import adapt
from scrun.doctor import scratch
from scrun.slurm import srun

if TYPE_CHECKING:
    from scrun.doctor.site import Site
    from scrun.oci import Config

# How far a container came: its program was looked for; slurmstepd started its task; or not even that.
OUTCOMES = NAMED, STARTED, FAILED = "named", "started", "failed"


def make_bundle(site: Site, program: str) -> str:
    """Make a bundle without the program ``program`` in the user's home directory, and return the bundle's path.

    Only the user can enter the bundle.

    Raises:
        OSError: the bundle can't be written.
    """
    path = scratch.make(site.home)
    try:
        _fill(path, site, program)
    except BaseException:
        scratch.remove(path)
        raise
    return path


def _fill(path: str, site: Site, program: str) -> None:
    config: Config = {
        "ociVersion": "1.0.2",
        "process": {"args": [program], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/"]},
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},  # runc looks into it
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        ],
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
    }
    for name in ("rootfs", "rootfs/dev", "rootfs/proc"):
        os.mkdir(os.path.join(path, name))
    fit = adapt.adapt(config, uid=site.uid, gid=os.getgid(), note=lambda _note: None)
    with open(os.path.join(path, "config.json"), "w", encoding="ascii") as file:
        file.write(fastjson.dumps(fit))
    os.chmod(file.name, 0o600)


def outcome(program: str, out: bytes, err: bytes) -> str:
    """How far the container came, by what srun (with -v) and the runtime have printed."""
    if program.encode() in out + err:
        return NAMED
    progress = srun.Progress()
    for line in err.decode("utf-8", "replace").splitlines():
        progress.line(line)
    return STARTED if progress.started else FAILED
