"""update: change those properties of a container's job that Slurm lets its user change; refuse all others by name.

A job's resources (processors, memory) are fixed when the job gets its nodes, so no limit of the runtime-spec can be
changed. Engines send all limits at each update; limits that stay as they are are not refused.
"""

from __future__ import annotations

import os

from scrun import fastjson
from scrun.errors import ScrunError, UsageError, WrongStatus
from scrun.lifecycle.container import status
from scrun.lifecycle.worker import ask_slurm
from scrun.slurm import job_changes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from scrun.lifecycle.container.directory import Container

_PATIENCE = 60.0  # seconds; long, because a change that slurmctld is making must not be given up
# The variable that sets a limit at create, by the beginning of the limit's name.
_INSTEAD = {"cpu": "CPUS_PER_TASK", "memory": "MEM_PER_NODE", "kernel": "MEM_PER_NODE"}


def update_job(container: Container, changes: Mapping[str, str], resources: Any, limits: Mapping[str, str]) -> None:
    """Change the container's job.

    Args:
        container: a container that isn't stopped.
        changes: new values of the variables SCRUN_<name>, by name (:data:`scrun.slurm.job_changes.CHANGES`).
        resources: a document like config.json's linux.resources.
        limits: the values of runc's options for limits, by name.

    Raises:
        WrongStatus: the container is stopped, or is only being made.
        UsageError: a limit would change, or a change can't be understood.
        JobRefused: slurmctld doesn't let this user make the changes; then nothing is changed.
    """
    now = container.phase()
    if not status.can_update(now):
        raise WrongStatus(f"cannot update container {container.id!r}: container not running: it is {now}")
    refused = [f"--{name.replace('_', '-')}" for name, value in limits.items() if value.strip() not in ("", "0")]
    refused += changed_limits(resources, container.record.get("resources", {}))
    if refused:
        raise UsageError(_refusal(container.id, refused))
    if not changes:
        return
    wanted = job_changes.checked(changes)
    job = container.record.get("job")
    if not job:
        raise WrongStatus(f"cannot update container {container.id!r}: it has no job yet: try again")

    def question() -> bool:
        os.environ.update(container.record["environment"])  # engines don't give SLURM_CONF to every call, for example
        from scrun.slurm import jobs

        jobs.change(job, wanted)
        return True

    ask_slurm.ask(question, _PATIENCE)


def changes_of(given: Sequence[str], time_limit: str | None) -> dict[str, str]:
    """The changes that the command line asks for, by name without SCRUN_.

    Args:
        given: the values of ``--set``.
        time_limit: the value of ``--time-limit``.

    Raises:
        UsageError: a word isn't NAME=VALUE.
    """
    changes = {}
    for word in given:
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"--set {word!r} is not NAME=VALUE, e.g. --set TIMELIMIT=30")
        changes[name.upper().removeprefix("SCRUN_")] = value
    if time_limit is not None:
        changes["TIMELIMIT"] = time_limit
    return changes


def changed_limits(wanted: Any, there: Any) -> list[str]:
    """The names of the limits that a resources document would change.

    A limit that is empty, zero or as it is already doesn't count. Rules for devices don't count either, because docker
    and podman repeat them, and nodes don't apply them.

    Args:
        wanted: the resources document.
        there: the resources of the container's config.
    """
    now = dict(_leaves(there, ""))
    return [
        name
        for name, value in _leaves(wanted, "")
        if value and now.get(name) != value and not name.startswith("devices")
    ]


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _leaves(below, f"{name}.{key}" if name else key)
    else:
        yield name, value


def _refusal(container_id: str, refused: Sequence[str]) -> str:
    words = [name.lstrip("-") for name in refused]
    instead = sorted({variable for word in words for kind, variable in _INSTEAD.items() if word.startswith(kind)})
    how = " and ".join(f"SCRUN_{name}" for name in instead) or "the SCRUN_* variables"
    return (
        f"can't change {', '.join(refused)} of container {container_id!r}: a job's resources are fixed once it has "
        f"its nodes: ask for them with {how} when the container is created"
    )


def read_resources(text: str, where: str) -> Any:
    """Parse a resources document; errors name it ``where``.

    Raises:
        ScrunError: the text is no JSON object.
    """
    try:
        document = fastjson.loads(text)
    except (ValueError, RecursionError) as error:
        raise ScrunError(f"the resources in {where} are no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ScrunError(f"the resources in {where} are no JSON object")
    return document
