"""Fill in a new job's fields as salloc would: the fields that were asked for, and those that follow from them.

pyslurm's defaults are a batch job's: one node and one task, which neither srun nor salloc asks for. pyslurm also
doesn't mark the numbers that were asked for, and slurmctld and the job's environment need these marks.
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
    """Return ``job`` with the values of variables, which are named without SCRUN_.

    The result has attributes of pyslurm.JobSubmitDescription, and under ``descriptor`` fields of job_desc_msg_t.
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
        del fields["ntasks_per_core"]  # the variable itself wins over a hint
    if "threads_per_core" in fields and "THREADS_PER_CORE" in values:
        del fields["threads_per_core"]
    _for_each_task(fields)
    _nodes_and_tasks(job, fields, values)
    said = {name: value for name, value in fields.items() if value is not False and value != ""}
    if not said["bitflags"]:
        del said["bitflags"]
    return {**job, "descriptor": said}


def _nodes_and_tasks(job: dict[str, Any], fields: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Derive the number of nodes from the number of tasks, or the reverse, as salloc(1) does."""
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
    """The number of GPUs that the job will have; 0 if it isn't known before."""
    of_job, of_node = fields.get("tres_per_job", ""), fields.get("tres_per_node", "")
    where, times = (of_job, 1) if of_job else (of_node, nodes or 0)
    return times * sum(int(part.rpartition(":")[2]) for part in where.split(",") if part.startswith("gres/gpu:"))


def _for_each_task(fields: dict[str, Any]) -> None:
    """Add the CPUs of a task to its TRES, and bind tasks that are counted by GPU to their GPUs."""
    tres = [part for part in fields.get("tres_per_task", "").split(",") if part]
    cpus = [part for part in tres if part.startswith(("cpu=", "cpu:"))]
    if cpus:
        fields["cpus_per_task"] = int(cpus[0][4:])
    elif fields.get("cpus_per_task"):
        tres.insert(0, f"cpu={fields['cpus_per_task']}")
    if tres:
        fields["tres_per_task"] = ",".join(tres)
    if fields.get("ntasks_per_tres") and not fields.get("tres_bind"):
        fields["tres_bind"] = f"gres/gpu:single:{fields['ntasks_per_tres']}"
