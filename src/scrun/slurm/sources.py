"""Where Slurm's configuration is on this host, found as libslurm finds it (slurm.conf(5), "configless").

libslurm takes SLURM_CONF, then its built-in path, then what a slurmd or sackd has cached below /run/slurm/conf; where
there is none of these it asks a slurmctld, and has the files in its own memory only.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DIRECTORY = "/etc/slurm"
CACHE = "/run/slurm/conf"  # slurmd and sackd without a configuration of their own link it to theirs
SCRIPT = "scrun.lua"
OCI_CONF = "oci.conf"


def slurm_conf(environment: Mapping[str, str]) -> str:
    """The slurm.conf that libslurm will read; empty when there is none here and it will ask a slurmctld."""
    if named := environment.get("SLURM_CONF"):
        return named
    for directory in (DIRECTORY, CACHE):
        path = f"{directory}/slurm.conf"
        if os.path.exists(path):
            return path
    return ""


def oci_conf(environment: Mapping[str, str]) -> str:
    """The oci.conf beside slurm.conf."""
    return _beside(environment, OCI_CONF)


def script(environment: Mapping[str, str]) -> str:
    """The site's scrun.lua: beside slurm.conf, or in /etc/slurm where that is a cache without one (scrun(1))."""
    path = _beside(environment, SCRIPT)
    if not environment.get("SLURM_CONF") and not os.path.exists(path):
        return f"{DIRECTORY}/{SCRIPT}"
    return path


def _beside(environment: Mapping[str, str], name: str) -> str:
    return os.path.join(os.path.dirname(slurm_conf(environment)) or DIRECTORY, name)
