"""What a container's record may hold: state.json is the user's own file, and may have been damaged or edited."""

from __future__ import annotations

from scrun.lifecycle import status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ALWAYS_THERE = {"status", "pid", "pid_started", "bundle", "rootfs", "created", "owner", "annotations", "environment"}


def fault(record: Any) -> str:
    """What makes it no container's record; empty when nothing does. Members that nobody knows are no fault."""
    if not isinstance(record, dict):
        return "it is no container's record"
    if missing := ALWAYS_THERE - record.keys():
        return f"it is no container's record: {min(missing)} is missing"
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
        ("lost", "task_prolog", "config_file", "host", "host_name", "network", "network_namespace", "user", "group"),
        _is_text,
    ),
    "gpus": _is_numbers,
}
