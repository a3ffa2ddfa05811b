"""The plan of a new container: what create tells the anchor to do, and the anchor its workers."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from typing import NotRequired, TypedDict

    from scrun.lifecycle.container.network import Hook
    from scrun.lifecycle.container.record import Record
    from scrun.lifecycle.container.staging_plan import HookRequest, StagingPlan
    from scrun.slurm.job import JobRequest

    class Args(TypedDict):
        """The container's program for srun's command line, which a container without an agent needs."""

        args: list[str]
        args_error: str  # why srun can't take them, if they are empty

    class NetworkPlan(TypedDict):
        """What is to be known of the engine's network namespace, where the container may be on its network."""

        namespace: str  # its path; empty for the stand-in's
        resolv_conf: str  # the path of the engine's resolv.conf for the container; empty where it has none
        ports: list[
            list[int]
        ]  # the container's ports that pasta publishes by TCP: the first and the last of each range
        near: bool  # whether the engine's programs connect to published ports from inside the namespace

    class Plan(Args):
        """Everything that the anchor is to do."""

        record: Record  # with what is known of the container so far
        log_levels: tuple[str, str]  # of the log file, of syslog
        job: JobRequest
        step_environment: dict[str, str]
        patience: float  # seconds that create waits; 0: for ever
        queued_patience: float  # the same while Slurm queues the job
        environment: dict[str, str]  # of create's caller, for srun
        terminal: bool
        console_socket: str  # empty where there is none, as pid_file is
        console_size: list[int] | None  # rows and columns
        pid_file: str
        attached: bool  # whoever creates the container stays, and the container ends when they do
        new_network_namespace: bool  # for the stand-in
        network_hook: Hook | None  # to run when it is in that
        engine_network: NetworkPlan
        script: str  # path of scrun.lua
        lua: str  # which version of Lua is wanted; empty where nobody says
        staging: StagingPlan
        node_patience: float  # seconds that the container runs on without a connection to this host
        ports: list[int]  # the first and the last port that nodes can connect to; 0, 0: any
        keep: NotRequired[bool]  # of an attached one: its directory is kept at the end


def hook_request(plan: Plan) -> HookRequest:
    """The part of a plan that a worker needs to run one of the hooks."""
    return {"script": plan["script"], "lua": plan["lua"], "staging": plan["staging"]}


def tasks(plan: Plan, record: Record) -> int:
    """How many srun will start; what the step is told counts more than the job's own number."""
    told: str = plan["step_environment"].get("SLURM_NTASKS", "")
    return int(told) if told.isdigit() else int(record["tasks"])
