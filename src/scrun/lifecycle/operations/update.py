"""update: change of a container's job what Slurm lets its user change, and refuse the rest by name.

The resources of a job (processors, memory) are fixed when its nodes are given to it, so that no limit of the
runtime-spec's resources can be changed. Engines send all of them at each update; those that are as they were count for
nothing.
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

_PATIENCE = 60.0  # seconds; what slurmctld is asked to do must not be given up lightly
_INSTEAD = {"cpu": "CPUS_PER_TASK", "memory": "MEM_PER_NODE", "kernel": "MEM_PER_NODE"}


def run(container: Container, changes: Mapping[str, str], resources: Any, limits: Mapping[str, str]) -> None:
    """Change the container's job.

    Args:
        container: one that isn't stopped.
        changes: what to change, by the name of SCRUN_<name>; see :data:`scrun.slurm.job_changes.CHANGES`.
        resources: a document like config.json's linux.resources.
        limits: runc's options and their values.

    Raises:
        WrongStatus: it is stopped, or only being made.
        UsageError: a limit is to be changed that can't be, or a change can't be understood.
        JobRefused: slurmctld doesn't let this user change that; nothing is changed then.
    """
    now = container.phase()
    if not status.can_update(now):
        raise WrongStatus(f"cannot update container {container.id!r}: container not running: it is {now}")
    refused = [f"--{name.replace('_', '-')}" for name, value in limits.items() if value.strip() not in ("", "0")]
    refused += asked_for(resources, container.record.get("resources", {}))
    if refused:
        raise UsageError(_refusal(container.id, refused))
    if not changes:
        return
    wanted = job_changes.checked(changes)
    job = container.record.get("job")
    if not job:
        raise WrongStatus(f"cannot update container {container.id!r}: it has no job yet: try again")

    def question() -> bool:
        os.environ.update(container.record["environment"])  # SLURM_CONF, for one: engines don't give it to every call
        from scrun.slurm import jobs

        jobs.change(job, wanted)
        return True

    ask_slurm.ask(question, _PATIENCE)


def settings(given: Sequence[str], time_limit: str | None) -> dict[str, str]:
    """The changes that the command line asks for.

    Raises:
        UsageError: one is no NAME=VALUE.
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


def asked_for(wanted: Any, there: Any) -> list[str]:
    """The names of what a resources document asks for: all that isn't empty, zero, or as it is already.

    Rules for devices don't count: docker and podman repeat them, and nodes don't apply them.
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
    """A resources document.

    Raises:
        ScrunError: it is no JSON object.
    """
    try:
        document = fastjson.loads(text)
    except (ValueError, RecursionError) as error:
        raise ScrunError(f"the resources in {where} are no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ScrunError(f"the resources in {where} are no JSON object")
    return document
