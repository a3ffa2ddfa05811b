"""The SLURM_* variables of a container's job, which salloc would set for a shell in it.

srun reads them as its options, and its step hands them on to the container.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Variables of a step; if a container starts another container, they would be the wrong step's.
_OF_A_STEP = (
    *("SLURM_STEP", "SLURM_CPU_BIND", "SLURM_GTIDS", "SLURM_LAUNCH_NODE_IPADDR", "SLURM_LOCALID", "SLURM_NODEID"),
    *("SLURM_PRIO_PROCESS", "SLURM_PROCID", "SLURM_SRUN_COMM", "SLURM_TASK_PID", "SLURM_UMASK", "SLURM_TOPOLOGY_ADDR"),
    *("SLURM_CONTAINER",),
)
_MEMORY = {"SLURM_MEM_PER_CPU", "SLURM_MEM_PER_GPU", "SLURM_MEM_PER_NODE"}  # srun takes one of them


def of_allocation(caller: Mapping[str, str], job_id: str) -> dict[str, str]:
    """The job's variables in the caller's environment, if the caller runs in that job; empty otherwise."""
    if caller.get("SLURM_JOB_ID") != job_id or "SLURM_JOB_NODELIST" not in caller:
        return {}
    return {
        name: value for name, value in caller.items() if name.startswith("SLURM_") and not name.startswith(_OF_A_STEP)
    }


def for_step(
    lines: Sequence[str], *, cluster: str, directory: str, inherited: Mapping[str, str], step: Mapping[str, str]
) -> list[str]:
    """The job's environment for the container's step, as NAME=value lines.

    Variables that contradict the step's are left out.

    Args:
        lines: libslurm's variables of the job, as NAME=value.
        cluster: the cluster's name.
        directory: the directory that scrun was called in.
        inherited: the caller's variables of the job, which replace all others if there are any.
        step: the variables that srun gets for the step.
    """
    variables = dict(inherited) or {
        "SLURM_SUBMIT_DIR": directory,
        "SLURM_SUBMIT_HOST": os.uname().nodename.partition(".")[0],
        "SLURM_CLUSTER_NAME": cluster,
        **dict(line.partition("=")[::2] for line in lines),
    }
    dropped = set(_MEMORY) if step.keys() & _MEMORY else set()
    if "SLURM_CPUS_PER_TASK" in step and "SLURM_TRES_PER_TASK" in variables:
        dropped.add("SLURM_TRES_PER_TASK")
    if variables.get("SLURM_JOB_NAME") == "(null)":  # libslurm doesn't know the name of a job that others asked for
        dropped.add("SLURM_JOB_NAME")
    return [f"{name}={value}" for name, value in variables.items() if name not in dropped]


def tasks(names: Mapping[str, str], nodes: int) -> int:
    """The number of tasks of the container's step: the number that was asked for, else one on each node.

    Without a number srun would start as many tasks as the job's CPUs allow: a container with ``--cpus 2`` would run
    eight times on a node of 16 CPUs of its own.
    """
    if said := names.get("SLURM_NTASKS") or names.get("SLURM_NPROCS"):
        return int(said)
    nodes = int(names.get("SLURM_JOB_NUM_NODES", str(nodes)).partition("-")[0])
    return nodes * int(names.get("SLURM_NTASKS_PER_NODE", "1"))
