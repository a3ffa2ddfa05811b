"""Translate the limits of a container's config (CPUs, memory and GPUs) into variables of the job."""

from __future__ import annotations

ALL = -1  # GPUs: all of a node's


def of_limits(*, cpus: int = 0, memory: int = 0, gpus: int = 0, several: bool, new_job: bool) -> dict[str, str]:
    """The job's variables for a container's limits, by their names without SCRUN_.

    Args:
        cpus: the number of CPUs; 0 for no limit.
        memory: MiB; 0 for no limit.
        gpus: the number of GPUs; ALL for all, 0 for none.
        several: whether the job has several tasks. Each task is the container, with these limits, so memory is then
            asked for by CPU, and each task gets its share on every node.
        new_job: whether the job is new; a step in an existing job has all GPUs of the job anyway.
    """
    asked: dict[str, str] = {}
    if cpus:
        asked["CPUS_PER_TASK"] = str(cpus)
    if memory and several:
        asked["MEM_PER_CPU"] = str(-(-memory // (cpus or 1)))
    elif memory:
        asked["MEM_PER_NODE"] = str(memory)
    if gpus > 0:
        asked["GPUS_PER_NODE"] = str(gpus)
    elif gpus == ALL and new_job:
        asked |= {"GRES": "gpu:1", "EXCLUSIVE": ""}  # a whole node with at least one GPU, so the job has all GPUs
    return asked
