"""The messages between scrun's processes: each protocol's types, and the check of a message that was read.

docs/architecture.md draws who sends what to whom. A message is one JSON object (:mod:`scrun.lifecycle.process.wire`).
An order has a member ``do`` that names it; a report is known by the member that only it has. For each reader there is
a type of all that it may get, and a check of the same name, which it passes to :meth:`wire.Reader.read`. The messages
of workers are in :mod:`scrun.lifecycle.container.worker_messages`.

The types cost a running process nothing. A test holds the checks to them (tests/unit/test_lifecycle_messages.py).
"""

from __future__ import annotations

from scrun import signal
from scrun.lifecycle.process import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal, NotRequired, TypedDict, final

    from scrun.lifecycle.container.network import Hook
    from scrun.lifecycle.container.plan import Plan
    from scrun.lifecycle.process.wire import Failure

    # --- what several protocols share

    @final
    class Started(TypedDict):
        """The process runs, or nobody has to wait any longer for that: to start's caller, and to that of exec -d."""

        started: Literal[True]

    @final
    class Log(TypedDict):
        """A line for the log: from a worker to the anchor, which passes it on to create."""

        log: str  # its level
        message: str

    @final
    class Progress(TypedDict):
        """How far a worker's transfer is: from the anchor's worker to the anchor, and on to create."""

        progress: str  # for a person

    @final
    class Notice(TypedDict):
        """What a job_submit plugin told the user: from ``allocate`` to the anchor, and on to create."""

        notice: str

    @final
    class Exit(TypedDict):
        """End with this status: the last message to a stand-in, from the anchor or, with exec, from the session."""

        do: Literal["exit"]
        status: int  # 0 to 255

    @final
    class Kill(TypedDict):
        """Send the process a signal: from a stand-in that got it, and from kill by the control socket."""

        do: Literal["kill"]
        signal: int  # its number; 0 asks whether the process is there

    # --- create and the anchor

    @final
    class Create(TypedDict):
        """Create to the anchor, once, when the config is read and good: make the container."""

        do: Literal["create"]
        plan: Plan

    @final
    class Abort(TypedDict):
        """Create to the anchor, when create fails or is interrupted: give the container up."""

        do: Literal["abort"]

    @final
    class LeaveAlone(TypedDict):
        """Run to the anchor, when run detaches: the container goes on without its creator."""

        do: Literal["leave alone"]

    FromCreator = Create | Abort | LeaveAlone

    @final
    class Waiting(TypedDict):
        """The anchor to create, whenever the reason changes: the job is queued."""

        waiting: str  # Slurm's reason
        job: int

    @final
    class Granted(TypedDict):
        """The anchor to create: the job has its nodes."""

        granted: str  # the nodes, as Slurm writes them

    @final
    class Created(TypedDict):
        """The anchor to create, once: the container is there. A :class:`Failure` comes in its place."""

        created: Literal[True]

    ToCreator = Waiting | Granted | Notice | Progress | Log | Created | Failure

    # --- the anchor and the stand-in

    @final
    class NewNamespaces(TypedDict):
        """The anchor to the stand-in, once at most, before the container is created."""

        do: Literal["new namespaces"]
        pid: bool  # whether it shall have a pid and a mount namespace
        network: bool
        hook: Hook | None  # to run when it is in them

    @final
    class ShowPodman(TypedDict):
        """The anchor to the stand-in of a podman's container, when it is created and when its files are staged."""

        do: Literal["show podman"]
        rootfs: bool  # whether podman shall find the container's root filesystem

    ToStandin = NewNamespaces | ShowPodman | Exit

    @final
    class Moved(TypedDict):
        """The stand-in's answer to :class:`NewNamespaces`."""

        answer: str  # why it could not; empty: it is in them
        pid: int  # its new one, 0 where that is the old one

    FromStandin = Moved | Kill

    # --- the control socket: start, kill, pause, resume and delete, each one request and one answer

    @final
    class Request(TypedDict):
        """A caller to the anchor. It comes from outside: :func:`request` says what is wrong with a bad one."""

        do: Literal["start", "ping", "pause", "resume", "delete"]

    @final
    class WaitsFor(TypedDict):
        """The answer to a ping, at once."""

        waits_for: str  # what a busy anchor does, for a person; empty where it is nothing to speak of

    @final
    class Sent(TypedDict):
        """The answer to kill: the signal reached the process, or the process has ended."""

        sent: int

    @final
    class Paused(TypedDict):
        """The answer to pause."""

        paused: Literal[True]

    @final
    class Resumed(TypedDict):
        """The answer to resume."""

        resumed: Literal[True]

    @final
    class Ended(TypedDict):
        """The answer to delete, and to kill, start and resume of a container that ended meanwhile."""

        ended: Literal[True]
        lost: NotRequired[str]  # which changes did not come back, and why

    @final
    class Deleted(TypedDict):
        """The answer to delete where only the nodes' copies and the job are left to give back."""

        deleted: Literal[True]

    @final
    class Later(TypedDict):
        """The answer to a delete that isn't to wait for the files: they are still coming back."""

        later: Literal[True]

    FromCaller = Request | Kill
    Answer = Started | WaitsFor | Sent | Paused | Resumed | Ended | Deleted | Later | Failure
    Reply = Callable[[Answer], None]  # gives a caller its answer, once

    # --- the node socket: exec, and commands beside the container on its nodes

    @final
    class Exec(TypedDict):
        """A caller to the anchor: run the process object that is in the file, with the descriptors beside it."""

        do: Literal["exec"]
        node: str  # empty: any
        program: str  # as the caller had it
        terminal: bool
        own_terminal: bool  # whether the terminal was made for the process, and is not the caller's own
        size: list[int]  # rows and columns of the caller's own

    @final
    class Run(TypedDict):
        """A caller to the anchor: run the command that is in the file, its words ended by NUL, on the nodes."""

        do: Literal["run"]
        node: str  # empty: each of the container's

    @final
    class Resize(TypedDict):
        """The stand-in of an exec to the anchor: its terminal's window has this size."""

        do: Literal["resize"]
        rows: int
        columns: int

    @final
    class Answers(TypedDict):
        """The answer to :class:`Run`: each node's exit status and what was printed there."""

        answers: dict[str, list[object]]

    NodeRequest = Exec | Run
    # To an exec first Started, or what went wrong, and in the end Exit.
    NodeAnswer = Started | Exit | Answers | Failure
    FromExecStandin = Kill | Resize


def request(message: object) -> FromCaller:
    """Check a request, which has come from outside.

    Raises:
        ValueError: what is wrong with it, for a person.
    """
    do = message.get("do") if isinstance(message, dict) else None
    if not isinstance(message, dict) or not isinstance(do, str):
        raise ValueError("it is an object whose member do is a word")
    if do not in _REQUESTS:
        raise ValueError(f"it knows no {do[:20]!r}")
    if do == "kill" and not _is_signal(message.get("signal")):
        raise ValueError("its signal is the number of one, or 0")
    checked: FromCaller = message  # type: ignore[assignment]  # all that is in it was looked at
    return checked


def _is_signal(value: object) -> bool:
    """Whether it is the number of a signal, or 0; JSON's true is 1 to Python."""
    return type(value) is int and 0 <= value < signal.NSIG


def node_request(message: object) -> NodeRequest:
    """Check a request at the node socket.

    Raises:
        ValueError: what is wrong with it, for a person.
    """
    checked = _node_request(message)
    if checked["do"] == "exec" and (len(checked["size"]) != 2 or not all(map(_is_length, checked["size"]))):
        raise ValueError("its size is two numbers, rows and columns")
    return checked


def from_exec_standin(message: object) -> FromExecStandin:
    """Check what the stand-in of an exec says.

    Raises:
        ValueError: it is none of its messages.
    """
    checked = _from_exec_standin(message)
    if checked["do"] == "kill" and not _is_signal(checked["signal"]):
        raise ValueError("its signal is the number of one, or 0")
    if checked["do"] == "resize" and not (_is_length(checked["rows"]) and _is_length(checked["columns"])):
        raise ValueError("its size is two numbers, rows and columns")
    return checked


def _is_length(value: object) -> bool:
    """Whether it can be a terminal's rows or columns."""
    return type(value) is int and 0 <= value < 1 << 16


MEMBERS = "@MEMBERS"  # in a command: the pids of the container's processes on that node


def script(text: str) -> list[str]:
    """The command that runs a shell script, whose first word is the pids of the container's processes."""
    return ["/bin/sh", "-c", text, "sh", MEMBERS]


_REQUESTS = ("start", "ping", "kill", "pause", "resume", "delete")
_LOG, _PROGRESS, _NOTICE = {"log": str, "message": str}, {"progress": str}, {"notice": str}
_STARTED, _EXIT, _KILL = {"started": True}, {"do": "exit", "status": int}, {"do": "kill", "signal": int}
_NAMESPACES = {"do": "new namespaces", "pid": bool, "network": bool, "hook": (dict, type(None))}

from_creator: Callable[[object], FromCreator] = wire.Check(
    {"do": "create", "plan": dict}, {"do": "abort"}, {"do": "leave alone"}
)
to_creator: Callable[[object], ToCreator] = wire.Check(
    *({"waiting": str, "job": int}, {"granted": str}, _NOTICE, _PROGRESS, _LOG, {"created": True}, wire.FAILURE)
)
to_standin: Callable[[object], ToStandin] = wire.Check(_NAMESPACES, {"do": "show podman", "rootfs": bool}, _EXIT)
from_standin: Callable[[object], FromStandin] = wire.Check({"answer": str, "pid": int}, _KILL)
answer: Callable[[object], Answer] = wire.Check(
    *(wire.FAILURE, _STARTED, {"waits_for": str}, {"sent": int}, {"paused": True}, {"resumed": True}),
    *({"ended": True}, {"deleted": True}, {"later": True}),
)
_node_request: Callable[[object], NodeRequest] = wire.Check(
    {"do": "exec", "node": str, "program": str, "terminal": bool, "own_terminal": bool, "size": list},
    {"do": "run", "node": str},
)
_from_exec_standin: Callable[[object], FromExecStandin] = wire.Check(
    _KILL, {"do": "resize", "rows": int, "columns": int}
)
node_answer: Callable[[object], NodeAnswer] = wire.Check(_STARTED, _EXIT, {"answers": dict}, wire.FAILURE)
