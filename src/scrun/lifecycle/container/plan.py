"""The plan of a new container: what create tells the anchor to do, and the anchor its workers."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from typing import NotRequired, TypedDict

    from scrun.lifecycle.container.network import Hook
    from scrun.lifecycle.container.record import Record
    from scrun.lifecycle.container.staging_plan import HookRequest, StagingPlan
    from scrun.slurm.job import JobRequest

    class Plan(TypedDict):
        """Everything that the anchor is to do."""

        record: Record  # with what is known of the container so far
        log_levels: tuple[str, str]  # of the log file, of syslog
        job: JobRequest
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


def hook_request(plan: Plan) -> HookRequest:
    """The part of a plan that a worker needs to run one of the hooks."""
    return {"script": plan["script"], "lua": plan["lua"], "staging": plan["staging"]}
