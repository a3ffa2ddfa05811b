"""Whether pyslurm describes a job (SCRUN_PYSLURM), and which pyslurm there is.

scrun fills in the same description itself, so pyslurm isn't imported unless somebody asks for it: it would take 12 to
40 ms of each container's start.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_YES = ("1", "yes", "true")  # values of SCRUN_PYSLURM that have pyslurm describe the job
_BRIDGE = "scrun.slurm._pyslurm"


def is_used(environment: Mapping[str, str]) -> bool:
    """Whether pyslurm describes the job: somebody asks for it, scrun was built with it, and it is installed."""
    if environment.get("SCRUN_PYSLURM", "").lower() not in _YES:
        return False
    from importlib.util import find_spec

    return bool(find_spec("pyslurm") and find_spec(_BRIDGE))


def pyslurm_version() -> str:
    """The version of the installed pyslurm, without importing it; empty if it isn't known.

    A copy of pyslurm by a Debian package or ``scrun install`` has no metadata of pip's, so version.py is read.
    """
    from importlib import metadata, util

    try:
        return metadata.version("pyslurm")
    except metadata.PackageNotFoundError:
        spec = util.find_spec("pyslurm")
    for directory in (spec.submodule_search_locations or ()) if spec else ():
        try:
            with open(os.path.join(directory, "version.py"), encoding="utf-8") as file:
                said = [line.partition("=")[2].strip(" \"'\n") for line in file if line.startswith("__version__")]
        except OSError:
            continue
        if said:
            return said[0]
    return ""
