"""The plan of a new container: what create tells the anchor to do, and the anchor its workers."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NotRequired, TypedDict

    from scrun.lifecycle.container.network import Hook
    from scrun.lifecycle.container.record import Record

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
        mpi: bool  # whether the step starts an MPI program, whose tasks share memory
        host_name: str
        mounted: dict[str, list[Any]]  # the true source of each mount, by its path (staging.mount_sources)
        spool_mounts: Sequence[str]  # where slurmstepd mounts files of its own, by its release (slurm.oci_conf)
        task_prolog: str  # a program of the caller's that slurmstepd runs before each task
        task_programs: bool  # whether there is such a one, before or after the task
        env_exclude: NotRequired[str]  # oci.conf's, where slurmd leaves the bundle's config alone

    class Plan(TypedDict):
        """Everything that the anchor is to do."""

        record: Record  # with what is known of the container so far
        log_levels: tuple[str, str]  # of the log file, of syslog
        job: dict[str, Any]  # what Slurm is asked for (slurm.job.Request)
        step_environment: dict[str, str]
        patience: float  # seconds that create waits; 0: for ever
        args: list[str]  # of the container's process, as srun's command line takes them
        environment: dict[str, str]  # of create's caller, for srun
        terminal: bool
        console_socket: str  # empty where there is none, as pid_file is
        console_size: list[int] | None  # rows and columns
        pid_file: str
        attached: bool  # whoever creates the container stays, and the container ends when they do
        new_network_namespace: bool  # for the stand-in
        network_hook: Hook | None  # to run when it is in that
        script: str  # path of scrun.lua
        lua: str  # which version of Lua is wanted; empty where nobody says
        staging: StagingPlan
        keep: NotRequired[bool]  # of an attached one: its directory is kept at the end


def hook_request(plan: Plan) -> dict[str, object]:
    """The part of a plan that a worker needs to run one of the hooks."""
    return {"script": plan["script"], "lua": plan["lua"], "staging": plan["staging"]}
