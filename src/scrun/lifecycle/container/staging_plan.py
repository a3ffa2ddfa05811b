"""The part of a container's plan that its hooks need: stage_in when the job has nodes, stage_out at the end."""

from __future__ import annotations

ENGINES_NETWORK = "engine"
"""The kind of a container's network (container.network), for processes that stay and know no other kind."""

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NotRequired, TypedDict

    class StagingPlan(TypedDict):
        """What stage_in and stage_out have to know (scrun(1), scrun.lua)."""

        config_file: str  # absolute paths, as the next three are
        spool_dir: str
        pid_file: str
        log_file: str
        log_format: str  # "text" or "json"
        oci_version: str
        srun: list[str]  # how srun is called
        network: str  # one of container.network's kinds
        otherwise: str  # the kind where the node can't have the engine's; empty: it must have that
        network_of: str  # the directory of the container whose network this one joins; empty: it joins none
        mpi: bool  # whether the step starts an MPI program, whose tasks share memory
        host_name: str
        login: str  # this host's address as the nodes reach it; empty until the job's nodes are known
        gateways: Sequence[str]  # the names that the engine gives its own host in the container
        mounted: dict[str, list[Any]]  # the true source of each mount, by its path (staging.mount_sources)
        spool_mounts: Sequence[str]  # where slurmstepd mounts files of its own, by its release (slurm.oci_conf)
        task_prolog: str  # a program of the caller's that slurmstepd runs before each task
        task_programs: bool  # whether there is such a one, before or after the task
        env_exclude: NotRequired[str]  # oci.conf's, where slurmd leaves the bundle's config alone

    class HookRequest(TypedDict):
        """What a worker needs to load scrun.lua and call one of its hooks."""

        script: str  # the path of scrun.lua
        lua: str  # the version of Lua that the caller wants; empty for the script's own choice
        staging: StagingPlan
