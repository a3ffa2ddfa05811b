"""The SLURM_* variables of a container's job, as a shell in it would have them: salloc's, and what srun must not see.

srun reads them as its options, and its step hands them on to the container.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Of a step; in a container that starts another one they would be the wrong step's.
_OF_A_STEP = (
    *("SLURM_STEP", "SLURM_CPU_BIND", "SLURM_GTIDS", "SLURM_LAUNCH_NODE_IPADDR", "SLURM_LOCALID", "SLURM_NODEID"),
    *("SLURM_PRIO_PROCESS", "SLURM_PROCID", "SLURM_SRUN_COMM", "SLURM_TASK_PID", "SLURM_UMASK", "SLURM_TOPOLOGY_ADDR"),
    *("SLURM_CONTAINER",),
)
_MEMORY = {"SLURM_MEM_PER_CPU", "SLURM_MEM_PER_GPU", "SLURM_MEM_PER_NODE"}  # srun takes one of them


def of_allocation(caller: Mapping[str, str], job_id: str) -> dict[str, str]:
    """What the caller's environment says of the job, when salloc or a batch script gave it; empty otherwise."""
    if caller.get("SLURM_JOB_ID") != job_id or "SLURM_JOB_NODELIST" not in caller:
        return {}
    return {
        name: value for name, value in caller.items() if name.startswith("SLURM_") and not name.startswith(_OF_A_STEP)
    }


def complete(
    lines: Sequence[str], *, cluster: str, directory: str, given: Mapping[str, str], step: Mapping[str, str]
) -> list[str]:
    """``NAME=value`` lines: ``given`` if there is anything, else libslurm's ``lines`` and what salloc adds to them.

    What contradicts the variables that srun gets for the step is left out.
    """
    found = dict(given) or {
        "SLURM_SUBMIT_DIR": directory,
        "SLURM_SUBMIT_HOST": os.uname().nodename.partition(".")[0],
        "SLURM_CLUSTER_NAME": cluster,
        **dict(line.partition("=")[::2] for line in lines),
    }
    dropped = set(_MEMORY) if step.keys() & _MEMORY else set()
    if "SLURM_CPUS_PER_TASK" in step and "SLURM_TRES_PER_TASK" in found:
        dropped.add("SLURM_TRES_PER_TASK")
    if found.get("SLURM_JOB_NAME") == "(null)":  # of a job that others asked for libslurm isn't told it
        dropped.add("SLURM_JOB_NAME")
    return [f"{name}={value}" for name, value in found.items() if name not in dropped]


def tasks(names: Mapping[str, str], nodes: int) -> int:
    """How many tasks the container's step has: what was asked for, else one on each node.

    srun by itself would start as many as the job's CPUs allow where the number of CPUs for each is given: a container
    with ``--cpus 2`` on a node of its own would be eight.
    """
    if said := names.get("SLURM_NTASKS") or names.get("SLURM_NPROCS"):
        return int(said)
    nodes = int(names.get("SLURM_JOB_NUM_NODES", str(nodes)).partition("-")[0])
    return nodes * int(names.get("SLURM_NTASKS_PER_NODE", "1"))
