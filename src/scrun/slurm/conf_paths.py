"""The paths of Slurm's configuration files on this host, found as libslurm finds them (slurm.conf(5), "configless").

libslurm takes SLURM_CONF, then its built-in path, then the cache of a slurmd or sackd in /run/slurm/conf. Without any
of these it asks a slurmctld, and has the files in its own memory only.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DIRECTORY = "/etc/slurm"
CACHE = "/run/slurm/conf"  # a link by slurmd or sackd to the configuration that it fetched
SCRIPT = "scrun.lua"
OCI_CONF = "oci.conf"


def slurm_conf(environment: Mapping[str, str]) -> str:
    """The slurm.conf that libslurm will read; empty if there is none, so that libslurm will ask a slurmctld."""
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


def lua_script(environment: Mapping[str, str]) -> str:
    """The site's scrun.lua: beside slurm.conf, or in /etc/slurm if a cache of slurm.conf has none (scrun(1))."""
    path = _beside(environment, SCRIPT)
    if not environment.get("SLURM_CONF") and not os.path.exists(path):
        return f"{DIRECTORY}/{SCRIPT}"
    return path


def _beside(environment: Mapping[str, str], name: str) -> str:
    return os.path.join(os.path.dirname(slurm_conf(environment)) or DIRECTORY, name)
