"""The messages between a process and its workers: see :mod:`scrun.lifecycle.container.messages`.

Each worker (:mod:`scrun.lifecycle.worker`) gets one order; a ``prepare`` worker gets three, and then perhaps that of a
``stage out`` worker, which has two. It may say a Failure in the place of any other report, and ends then.
"""

from __future__ import annotations

from scrun.lifecycle.process import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal, NotRequired, TypedDict, final

    from scrun.lifecycle.container.messages import Log, Notice, Progress
    from scrun.lifecycle.container.plan import Plan
    from scrun.lifecycle.container.record import Record
    from scrun.lifecycle.container.staging_plan import HookRequest
    from scrun.lifecycle.process.wire import Failure
    from scrun.slurm.job import JobRequest
    from scrun.staging.model import StagedData

    @final
    class Allocate(TypedDict):
        """The second order to a ``prepare`` worker: get the job and its nodes."""

        plan: JobRequest
        step: dict[str, str]  # variables that srun will get
        look_at: int  # a job that was asked for already and is looked at once; 0: there is none

    @final
    class Job(TypedDict):
        """From ``prepare``: the job has an id, and has to be given back from now on."""

        job: int

    @final
    class Queued(TypedDict):
        """From ``prepare``, whenever the reason changes."""

        waiting: str  # Slurm's reason

    class Allocation(TypedDict):
        """What is known of a job that has nodes (scrun.slurm.control.look_up), and what a step of it will have."""

        nodes: str  # as Slurm writes them
        uid: int
        gid: int
        user: str
        group: str
        environment: list[str]  # NAME=value
        tasks: int
        gpus: list[int]
        slurm: list[int]  # Slurm's release: major and minor number

    @final
    class Allocated(TypedDict):
        """From ``prepare``: the job has its nodes."""

        nodes: Allocation

    @final
    class StillQueued(TypedDict):
        """From ``prepare``, in the place of :class:`Allocated`: from now on others look at the job."""

        still_queued: Literal[True]

    FromAllocate = Job | Notice | Queued | Allocated | Failure

    @final
    class LoadScript(HookRequest):
        """The first order to a ``prepare`` worker."""

        bundle: str

    @final
    class StageIn(TypedDict):
        """The third one, when the job has its nodes."""

        record: Record
        connection: ConnectionSettings

    class ConnectionSettings(TypedDict):
        """What the anchor knows of the connection to the nodes (docs/protocol.md)."""

        settings: str  # lines of the bundle's file, the key among them
        port: int  # the port that the anchor listens on; 0: it doesn't
        why: str  # why not, then

    @final
    class Loaded(TypedDict):
        """From ``prepare``: the script is good, so a job may be asked for."""

        loaded: str  # the script's path

    @final
    class Staged(TypedDict):
        """From ``prepare``, last: the files are where the nodes see them."""

        staged: StagedData
        bundle: str  # the bundle that the step is given, and its root filesystem
        rootfs: str
        step_bundle: str  # our bundle over that of the site's own script, for the step; else empty
        networked: str  # the same bundle for the node's network, where that is decided at start
        task_prolog: str
        hold: bool  # whether the container's end has to wait for stage_out
        init: str  # the path of the agent's init in the container
        network: str  # the kind of network that it has been given
        network_links: str  # where on the node that of another container is found which it joins; else empty
        login: str  # this host's address as the nodes reach it; empty: it has none
        network_user: list[int]  # the uid and gid in the container that are the job's user, where others share it
        remark: str  # to be said on the container's standard error when it starts; empty: nothing is
        unconnected: str  # why the container has no agent on its nodes; empty: it has

    @final
    class StageOut(HookRequest):
        """The order to a ``stage out`` worker, or to the ``prepare`` worker that is still there."""

        record: Record

    @final
    class GiveBack(TypedDict):
        """What a ``stage out`` worker gets next, and a ``release`` worker first: give the job back."""

        job: int
        status: int | None  # the container's exit status; None: the job is cancelled

    @final
    class KeepJob(TypedDict):
        """In the place of :class:`GiveBack`: the job is somebody else's."""

        keep_job: Literal[True]

    @final
    class Release(TypedDict):
        """The order to a ``release`` worker."""

        left: Record | None  # of a container whose stage_out was killed: tidy up what that has left
        job: GiveBack | None

    @final
    class Begun(TypedDict):
        """From ``stage out``, at once: from here on nobody else may do the same."""

        begun: Literal[True]

    @final
    class FilesBack(TypedDict):
        """From ``stage out``: the changes are here; the nodes' copies may still have to be removed."""

        files_back: Literal[True]

    @final
    class StagedOut(TypedDict):
        """From ``stage out``: the script has ended, too."""

        staged_out: Literal[True]

    @final
    class Released(TypedDict):
        """From ``release`` and ``stage out``, last: Slurm has the job back."""

        released: int  # the job

    FromPrepare = Loaded | FromAllocate | StillQueued | Staged | Progress | Log
    FromEnding = Begun | FilesBack | StagedOut | Released | Log | Failure

    @final
    class Look(TypedDict):
        """The order to a ``look`` worker. Without nodes it looks whether the job is still there."""

        job: int
        nodes: NotRequired[str]  # which of these is out of service; empty: of the job's
        queued: NotRequired[Literal[True]]  # whether it has nodes now

    @final
    class Gone(TypedDict):
        """From ``look``."""

        gone: bool  # whether the job has ended

    @final
    class HasNodes(TypedDict):
        """From ``look``."""

        has_nodes: bool  # whether a queued job has its nodes now

    @final
    class OutOfService(TypedDict):
        """From ``look``."""

        out_of_service: dict[str, str]  # why, by the node's name

    FromLook = Gone | HasNodes | OutOfService | Failure

    @final
    class Renew(TypedDict):
        """The order to a ``renew`` worker: send small files that have changed since create once more."""

        record: Record
        plan: Plan

    @final
    class Renewed(TypedDict):
        """From ``renew``."""

        renewed: dict[str, int]  # the new checksums, by the number of the text in ``staged``

    FromRenew = Renewed | Failure
    ToEnding = GiveBack | KeepJob
    Order = Allocate | LoadScript | StageIn | StageOut | ToEnding | Release | Look | Renew

    # --- a command and the child that asks Slurm for it

    @final
    class Answered(TypedDict):
        """What the question returned."""

        answer: Any

    FromAsked = Answered | Failure


_LOG, _PROGRESS, _NOTICE = {"log": str, "message": str}, {"progress": str}, {"notice": str}
_STAGED = {"staged": dict, "bundle": str, "rootfs": str, "networked": str, "task_prolog": str, "hold": bool}
_STAGED |= {"step_bundle": str, "init": str, "unconnected": str, "network": str, "network_user": list, "remark": str}
_STAGED |= {"network_links": str, "login": str}
_JSON = (dict, list, str, int, float, bool, type(None))

_OR_NONE = (dict, type(None))
_HOOK = {"script": str, "lua": str, "staging": dict}

to_allocate: Callable[[object], Allocate] = wire.Check({"plan": dict, "step": dict, "look_at": int})
_JOB = ({"job": int}, _NOTICE, {"waiting": str}, {"nodes": dict}, wire.FAILURE)
to_load: Callable[[object], LoadScript] = wire.Check({**_HOOK, "bundle": str})
to_stage_in: Callable[[object], StageIn] = wire.Check({"record": dict, "connection": dict})
from_prepare: Callable[[object], FromPrepare] = wire.Check(
    *({"loaded": str}, *_JOB, {"still_queued": True}, _STAGED, _PROGRESS, _LOG)
)
to_stage_out: Callable[[object], StageOut] = wire.Check({**_HOOK, "record": dict})
to_ending: Callable[[object], ToEnding] = wire.Check({"job": int, "status": (int, type(None))}, {"keep_job": True})
to_release: Callable[[object], Release] = wire.Check({"left": _OR_NONE, "job": _OR_NONE})
from_ending: Callable[[object], FromEnding] = wire.Check(
    *({"begun": True}, {"files_back": True}, {"staged_out": True}, {"released": int}, _LOG, wire.FAILURE)
)
to_look: Callable[[object], Look] = wire.Check({"job": int})
from_look: Callable[[object], FromLook] = wire.Check(
    *({"gone": bool}, {"has_nodes": bool}, {"out_of_service": dict}, wire.FAILURE)
)
to_renew: Callable[[object], Renew] = wire.Check({"record": dict, "plan": dict})
from_renew: Callable[[object], FromRenew] = wire.Check({"renewed": dict}, wire.FAILURE)
from_asked: Callable[[object], FromAsked] = wire.Check({"answer": _JSON}, wire.FAILURE)
