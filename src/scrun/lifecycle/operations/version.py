"""version: the version of scrun and of Slurm, and how scrun talks to Slurm."""

from __future__ import annotations

import importlib.util

from scrun import version_text
from scrun.lifecycle.operations import features
from scrun.slurm import pyslurm_parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def describe_versions(environment: Mapping[str, str]) -> str:
    """The lines that runc prints, and one with Slurm's version and with what describes a job to Slurm."""
    slurm = features.slurm_version(environment) or "unknown (no srun that says it)"
    return f"{version_text()}\nslurm: {slurm}, {describe_bridge(environment)}"


def describe_bridge(environment: Mapping[str, str]) -> str:
    """How a job is described to Slurm, as a part of a sentence."""
    if not importlib.util.find_spec("scrun.slurm._allocation"):
        return "scrun was built without its part of libslurm"
    if environment.get("SCRUN_PYSLURM", "").lower() not in pyslurm_parts.NO and pyslurm_parts.is_bridged():
        return f"through pyslurm {pyslurm_parts.pyslurm_version()}"
    return "through scrun's own part of libslurm"
