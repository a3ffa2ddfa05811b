"""The record of a container: what its ``state.json`` holds, and the check of one that was read.

The file is the user's own, and may have been damaged or edited: nothing in it is used before :func:`fault` has looked.
"""

from __future__ import annotations

from scrun.lifecycle.container import status

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Required, TypedDict

    from scrun.lifecycle.container.staging_plan import HookRequest
    from scrun.oci import Resources
    from scrun.slurm.node_runtime import Runtime
    from scrun.staging.model import StagedData

    class Record(TypedDict, total=False):
        """state.json. What is required is written by create; the rest as it becomes known."""

        version: int  # VERSION of who wrote it; 0 where there is none
        id: str
        status: Required[str]  # one of status.ALL, as it was written: see Container.status
        bundle: Required[str]
        rootfs: Required[str]
        created: Required[str]  # RFC 3339, as started and finished are
        started: str
        finished: str
        exit_status: int  # 0 to 255; there as soon as it is decided
        owner: Required[str]  # name of the user who called create
        annotations: Required[dict[str, str]]
        environment: Required[dict[str, str]]  # of create's caller: what is needed to reach Slurm
        command: list[str]  # process.args
        resources: Resources  # linux.resources of config.json, but for its devices
        config_file: str  # its path in the bundle, or an absolute one
        host: str  # which boot of which host it belongs to (container.origin)
        asked: Mapping[str, str]  # what the job was asked for with (slurm.shared_job)
        notices: bool  # whether the container's standard error is told what becomes of the job

        # The processes that stay with it. Start times are in clock ticks since boot: a pid alone proves nothing.
        pid: int  # the stand-in; of every record that was written
        pid_started: int
        anchor: int
        anchor_started: int
        step_pid: int  # srun
        step_started: int
        debtor: list[int]  # pid and start time of the process that ends it in its anchor's place

        # Its job
        job: int
        job_owned: bool  # whether it was asked for by us, and is given back
        released: bool  # whether that was done
        slurm: list[int]  # Slurm's release: major and minor number
        nodes: str  # as Slurm writes them: node[1-3]
        step: str  # number of the step in the job
        uid: int  # the user on the nodes, from the job
        gid: int
        user: str
        group: str
        tasks: int
        tasks_on_a_node: int  # on the one with most
        job_environment: list[str]  # what salloc would set, NAME=VALUE
        gpus: list[int]
        srun: list[str]  # how srun is called: the program, and options for all its calls
        runtime: Runtime
        init: str  # the path of the agent's init in the container; empty where it has none
        unconnected: str  # why the container has no agent on its nodes; empty: it has
        remark: str  # what is said on its standard error when it starts
        task_prolog: str

        # Its files on the nodes
        staged: StagedData
        job_bundle: str  # the bundle that the step is given, and its root filesystem
        job_rootfs: str
        step_bundle: str  # our bundle over that of the site's own script, for the step; empty: the step gets job_bundle
        networked: str  # the same bundle for the node's network, where that is decided at start
        hold: bool  # whether the stand-in stays until the files are back
        stage_out_owed: bool
        owed: HookRequest  # what stage_out was to be told, where its anchor was killed
        history: list[str]  # where a line is to be left when it has ended (container.history)
        lost: str  # which changes could not be brought back, and why; for a person

        # Its namespaces
        network: str
        network_links: str  # on the node: the path of links to the container's namespaces, for those that share them
        network_user: list[int]  # the uid and gid in the container that are the job's user there
        network_namespace: str  # file of a network namespace that several containers share
        guest_of: str  # directory of the container in whose job this one is a step
        host_name: str

        ending: bool  # it is being killed: nothing is begun in it any more
        unwanted: bool  # it was deleted: the directory goes when nothing is owed


VERSION = 1
"""Of the record's form. A member that a reader may ignore is no new version; what an older reader would misread is."""

ALWAYS_THERE = {"status", "pid", "pid_started", "bundle", "rootfs", "created", "owner", "annotations", "environment"}


def fault(record: Any) -> str:
    """Say what makes it no container's record; empty when nothing does. Members that nobody knows are no fault."""
    if not isinstance(record, dict):
        return "it is no container's record"
    if missing := ALWAYS_THERE - record.keys():
        return f"it is no container's record: {min(missing)} is missing"
    if type(written := record.get("version", 0)) is int and written > VERSION:
        return f"a newer scrun has written it (form {written}, this one knows {VERSION}): call that one"
    for name, value in record.items():
        if (is_right := _FIELDS.get(name)) and not is_right(value):
            return f"it is no container's record: {name} is not what it should be"
    return ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    """Of a process, a job, a user, or how many: 32 bits of it, and JSON's true is none."""
    return type(value) is int and 0 <= value < 1 << 32


def _is_time(value: Any) -> bool:
    """Clock ticks since boot."""
    return type(value) is int and 0 <= value < 1 << 63


def _is_stamp(value: Any) -> bool:
    """RFC 3339 as log.timestamp writes it; empty: not yet."""
    if not isinstance(value, str):
        return False
    day, clock = value[:10].split("-"), value[11:19].split(":")
    numbers = [*day, *clock, value[20:29]]
    if value and not (len(value) == 30 and value[10] == "T" and value[19] == "." and value[29] == "Z"):
        return False
    return not value or (len(day) == len(clock) == 3 and all(n.isascii() and n.isdigit() for n in numbers))


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(member, str) for member in value)


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(_is_time(member) for member in value)


def _is_map(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(member, str) for member in value.values())


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_runtime(value: Any) -> bool:
    """What slurm.node_runtime derives."""
    words = ("kind", "command", "name", "why")
    return isinstance(value, dict) and "kind" in value and all(isinstance(value.get(word, ""), str) for word in words)


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "status": lambda value: value in status.ALL if isinstance(value, str) else False,
    "step": lambda value: isinstance(value, str) and value.isascii() and (not value or value.isdigit()),
    "debtor": lambda value: _is_numbers(value) and len(value) == 2,
    "runtime": _is_runtime,
    **dict.fromkeys(("created", "started", "finished"), _is_stamp),
    **dict.fromkeys(("pid_started", "anchor_started", "step_started"), _is_time),
    **dict.fromkeys(("pid", "anchor", "step_pid", "job", "uid", "gid", "tasks", "tasks_on_a_node"), _is_number),
    **dict.fromkeys(("exit_status",), _is_number),
    **dict.fromkeys(("job_owned", "ending", "hold", "released", "stage_out_owed", "unwanted"), _is_flag),
    **dict.fromkeys(("annotations", "environment", "asked"), _is_map),
    **dict.fromkeys(("job_environment", "command", "history", "srun"), _is_texts),
    **dict.fromkeys(("staged", "resources", "owed"), _is_object),
    **dict.fromkeys(("bundle", "rootfs", "owner", "id", "nodes", "job_bundle", "job_rootfs", "networked"), _is_text),
    **dict.fromkeys(
        (
            "lost",
            "remark",
            "init",
            "step_bundle",
            "task_prolog",
            "unconnected",
            "config_file",
            "host",
            "guest_of",
            "host_name",
            "network",
            "network_links",
            "network_namespace",
            "user",
            "group",
        ),
        _is_text,
    ),
    "gpus": _is_numbers,
    "network_user": _is_numbers,
    "slurm": _is_numbers,
    "version": _is_number,
    "notices": _is_flag,
}
