"""features: what this runtime supports (runtime-spec, features.md and features-linux.md)."""

from __future__ import annotations

import subprocess

from scrun import OCI_VERSION, __version__
from scrun.errors import ScrunError
from scrun.slurm import oci_conf, srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMESPACES = ("cgroup", "ipc", "mount", "network", "pid", "user", "uts")
# Options that crun and runc both know. If "rro" is among them docker uses it: read-only, with all mounts below.
_MOUNT_OPTIONS = (
    *("async", "atime", "bind", "defaults", "dev", "diratime", "dirsync", "exec", "mand", "noatime", "nodev"),
    *("nodiratime", "noexec", "nomand", "norelatime", "nostrictatime", "nosuid", "private", "rbind", "relatime"),
    *("remount", "ro", "rprivate", "rshared", "rslave", "rw", "shared", "slave", "strictatime", "suid", "sync"),
    *("ratime", "rdev", "rdiratime", "rexec", "rnoatime", "rnodev", "rnodiratime", "rnoexec", "rnorelatime"),
    *("rnostrictatime", "rnosuid", "rrelatime", "rro", "rrw", "rstrictatime", "rsuid", "runbindable", "tmpcopyup"),
    "unbindable",
)


def features_document(environment: Mapping[str, str]) -> dict[str, object]:
    """Return the features document: what the nodes' crun and runc do for every container and scrun doesn't remove.

    docker reads it when it starts. So an error of Slurm's is no error here; then Slurm's version is left out.
    """
    annotations = {"org.scrun.version": __version__, "org.scrun.slurm.version": slurm_version(environment)}
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": [],
        "mountOptions": list(_MOUNT_OPTIONS),
        "linux": {
            "namespaces": list(_NAMESPACES),
            "cgroup": {"v1": False, "v2": False, "systemd": False, "systemdUser": False, "rdma": False},
            "seccomp": {"enabled": True, **_seccomp()},
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": False}},
        },
        "annotations": {name: value for name, value in annotations.items() if value},
        "potentiallyUnsafeConfigAnnotations": [],
    }


def _seccomp() -> dict[str, list[str]]:
    """The words that linux.seccomp in config.json may have, by our schema."""
    from scrun.bundle import config

    schema = config.schema()["$defs"]
    return {"actions": schema["action"]["enum"], "operators": schema["operator"]["enum"]}


def slurm_version(environment: Mapping[str, str]) -> str:
    """The version that srun prints, for example ``26.05.5``; empty if srun can't be run."""
    try:
        command = srun.srun_command(oci_conf.read(environment), environment)[0]
        printed = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=5, check=True).stdout
    except (ScrunError, OSError, subprocess.SubprocessError):
        return ""
    return printed.split()[-1] if printed.split() else ""
