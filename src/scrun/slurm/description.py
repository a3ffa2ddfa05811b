"""Describe a job for slurmctld, through pyslurm or without it.

pyslurm fills in the description if one is installed that was built for this Slurm. Otherwise scrun fills in the same
fields itself. ``scrun version`` prints which of the two it is.
"""

from __future__ import annotations

import os

from scrun.slurm import control, pyslurm_parts
from scrun.slurm.parsers import UNLIMITED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

try:
    from scrun.slurm import _allocation  # type: ignore[attr-defined]  # built at installation
except ImportError as missing:
    raise control.not_built(missing) from missing

# Fields of job_desc_msg_t by attribute of pyslurm.JobSubmitDescription, where the names differ.
_FIELDS = {
    "cluster_constraints": "cluster_features",
    "constraints": "features",
    "dependencies": "dependency",
    "partitions": "partition",
    "required_nodes": "req_nodes",
    "reservations": "reservation",
    "working_directory": "work_dir",
}
_FLAGS = {"spreads_over_nodes": _allocation.SPREAD_JOB, "use_min_nodes": _allocation.USE_MIN_NODES}


def preload() -> None:
    """Import what describes a job, while it isn't known yet what the job is."""
    _pyslurm()


def of_new_job(attributes: Mapping[str, Any], fields: Mapping[str, Any]) -> Any:
    """Describe an allocation.

    Args:
        attributes: attributes of pyslurm.JobSubmitDescription, by name.
        fields: fields of job_desc_msg_t, by name.

    Raises:
        ValueError, TypeError, AttributeError: an attribute or a field has a wrong value.
    """
    pyslurm = _pyslurm()
    if pyslurm:
        bridge, description_class = pyslurm
        # Not "ALL", pyslurm's default, because the environment is a batch script's, and there is no script.
        description = bridge.of_new_job(description_class(environment={"SCRUN": "1"}, **attributes))
    else:
        description = _filled(attributes)
    description.be_allocation()
    for name, value in fields.items():
        description.set(name, value)
    return description


def of_changes(attributes: Mapping[str, Any]) -> Any:
    """Describe changes of an existing job; arguments and errors are those of :func:`of_new_job`."""
    pyslurm = _pyslurm()
    if pyslurm:
        bridge, description_class = pyslurm
        description = bridge.of_changes(description_class(**attributes))
        description.set("profile", 0)  # slurm.h: not set; pyslurm writes another number
        return description
    return _filled(attributes)


def _filled(attributes: Mapping[str, Any]) -> Any:
    description = _allocation.Description()
    for name, value in attributes.items():
        if name in _FLAGS:
            if value:
                description.set("bitflags", _FLAGS[name])
        elif name == "time_limit" and value == "UNLIMITED":
            description.set(name, UNLIMITED)
        else:
            description.set(_FIELDS.get(name, name), value)
    return description


def _pyslurm() -> tuple[Any, Any] | None:
    """scrun's bridge to pyslurm, and pyslurm's class; None if no pyslurm fits this Slurm."""
    if os.environ.get("SCRUN_PYSLURM", "").lower() in pyslurm_parts.NO or not pyslurm_parts.is_bridged():
        return None
    try:
        description_class = pyslurm_parts.part("pyslurm.core.job.submission", "JobSubmitDescription")
        from scrun.slurm import _pyslurm  # type: ignore[attr-defined]  # imports that module of pyslurm itself
    except Exception:  # pyslurm isn't installed, or was built for another Slurm and raises any exception
        return None
    return _pyslurm, description_class
