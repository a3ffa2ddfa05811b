"""A new job's fields as salloc would fill them in: those that were asked for, and those that follow from them.

pyslurm's own defaults are a batch job's: one node and one task unless told otherwise, which neither srun nor salloc
says, and no mark of which numbers were asked for, by which slurmctld and the job's environment tell them apart.
"""

from __future__ import annotations

from scrun.slurm.srun import expand_nodes
from scrun.slurm.variables import BY_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_NTASKS_SET, _CPUS_SET = 1 << 14, 1 << 15  # slurm.h: JOB_NTASKS_SET, JOB_CPUS_SET


def described(job: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """``job`` with what the variables ask for, by their names without SCRUN_.

    Attributes of pyslurm.JobSubmitDescription, and under ``descriptor`` fields of job_desc_msg_t.
    """
    fields: dict[str, Any] = {"bitflags": 0}
    for name, value in values.items():
        field = BY_NAME[name].field
        if field == ".":
            for key, part in value.items():
                fields[key] = fields[key] | part if key == "bitflags" else part
        elif field.startswith(".tres_per_") and fields.get(field[1:]):
            fields[field[1:]] += f",{value}"
        elif field.startswith("."):
            fields[field[1:]] = value
        elif field:
            job[field] = value
    if "ntasks_per_core" in fields and "NTASKS_PER_CORE" in values:
        del fields["ntasks_per_core"]  # a hint gives way to what is said outright
    if "threads_per_core" in fields and "THREADS_PER_CORE" in values:
        del fields["threads_per_core"]
    _for_each_task(fields)
    _nodes_and_tasks(job, fields, values)
    said = {name: value for name, value in fields.items() if value is not False and value != ""}
    if not said["bitflags"]:
        del said["bitflags"]
    return {**job, "descriptor": said}


def _nodes_and_tasks(job: dict[str, Any], fields: dict[str, Any], values: Mapping[str, Any]) -> None:
    """How many of each, where one follows from the other; as salloc(1) does (its "massage the numbers")."""
    tasks, per_node = fields.get("num_tasks"), job.get("ntasks_per_node")
    if "min_nodes" not in fields and job.get("required_nodes"):
        fields["min_nodes"] = len(expand_nodes(job["required_nodes"]))
    least, most = fields.get("min_nodes"), fields.get("max_nodes")
    if not tasks and fields.get("ntasks_per_tres"):
        tasks = fields["ntasks_per_tres"] * _gpus(fields, least if most in (least, None) else None)
        if tasks:
            fields["num_tasks"] = tasks
    estimate = tasks or 1
    if least and tasks:
        fields["min_nodes"] = min(least, tasks)
        if most:
            fields["max_nodes"] = max(min(most, tasks), fields["min_nodes"])
    elif least and most in (least, None):
        estimate = least * (per_node or 1)
        shape = [
            values[name] for name in ("NSOCKETS_PER_NODE", "NCORES_PER_SOCKET", "THREADS_PER_CORE") if name in values
        ]
        if shape and not per_node:
            for number in shape:
                estimate *= number
            fields["num_tasks"] = tasks = estimate
    if tasks and per_node and not least:
        fields["min_nodes"] = -(-tasks // per_node)
    if "NTASKS" in values or (tasks and "ntasks_per_tres" not in fields):
        fields["bitflags"] |= _NTASKS_SET
    if fields.get("cpus_per_task"):
        fields["bitflags"] |= _CPUS_SET
    fields["min_cpus"] = (least or 1) if fields.get("overcommit") else estimate * fields.get("cpus_per_task", 1)


def _gpus(fields: dict[str, Any], nodes: int | None) -> int:
    """How many GPUs the job will have, as far as it is known before; 0: it isn't."""
    of_job, of_node = fields.get("tres_per_job", ""), fields.get("tres_per_node", "")
    where, times = (of_job, 1) if of_job else (of_node, nodes or 0)
    return times * sum(int(part.rpartition(":")[2]) for part in where.split(",") if part.startswith("gres/gpu:"))


def _for_each_task(fields: dict[str, Any]) -> None:
    """CPUs are a TRES of each task too, and tasks that are counted by GPU are bound to theirs."""
    wanted = [part for part in fields.get("tres_per_task", "").split(",") if part]
    cpus = [part for part in wanted if part.startswith(("cpu=", "cpu:"))]
    if cpus:
        fields["cpus_per_task"] = int(cpus[0][4:])
    elif fields.get("cpus_per_task"):
        wanted.insert(0, f"cpu={fields['cpus_per_task']}")
    if wanted:
        fields["tres_per_task"] = ",".join(wanted)
    if fields.get("ntasks_per_tres") and not fields.get("tres_bind"):
        fields["tres_bind"] = f"gres/gpu:single:{fields['ntasks_per_tres']}"
