"""docker's own words for resources, as variables of the job: CPUs, memory and GPUs of the container's config."""

from __future__ import annotations

ALL = -1  # GPUs: all of a node's


def variables(*, cpus: int = 0, memory: int = 0, gpus: int = 0, several: bool, new_job: bool) -> dict[str, str]:
    """Variables by their names without SCRUN_, for what is wanted; 0 is nothing. ``memory`` is in MiB.

    docker's limits are a container's. Where ``several`` tasks are containers, memory is asked for by CPU, so that each
    gets its share wherever it runs.
    """
    found: dict[str, str] = {}
    if cpus:
        found["CPUS_PER_TASK"] = str(cpus)
    if memory and several:
        found["MEM_PER_CPU"] = str(-(-memory // (cpus or 1)))
    elif memory:
        found["MEM_PER_NODE"] = str(memory)
    if gpus > 0:
        found["GPUS_PER_NODE"] = str(gpus)
    elif gpus == ALL and new_job:  # in a job that is there a step has all that the job has
        found |= {"GRES": "gpu:1", "EXCLUSIVE": ""}  # a node that has one, and the whole of it: the job has all then
    return found
