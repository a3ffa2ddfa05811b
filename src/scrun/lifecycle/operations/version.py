"""version: which scrun this is, and how it speaks to which Slurm."""

from __future__ import annotations

import importlib.util

from scrun import version_text
from scrun.lifecycle.operations import features
from scrun.slurm import pyslurm_parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def text(environment: Mapping[str, str]) -> str:
    """runc's three lines, and one that says Slurm's version and what describes a job to it."""
    slurm = features.slurm_version(environment) or "unknown (no srun that says it)"
    return f"{version_text()}\nslurm: {slurm}, {through(environment)}"


def through(environment: Mapping[str, str]) -> str:
    """What describes a job to Slurm, as a part of a sentence."""
    if not importlib.util.find_spec("scrun.slurm._allocation"):
        return "scrun was built without its part of libslurm"
    if environment.get("SCRUN_PYSLURM", "").lower() not in pyslurm_parts.NO and pyslurm_parts.is_bridged():
        return f"through pyslurm {pyslurm_parts.pyslurm_version()}"
    return "through scrun's own part of libslurm"
