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
    from typing import Any, TypedDict

    class JobDescription(TypedDict):
        """A job that Slurm is asked for, as a worker gets it from the anchor."""

        attributes: dict[str, object]  # of pyslurm.JobSubmitDescription, by name
        fields: dict[str, object]  # of Slurm's job_desc_msg_t, by name: numbers and texts


_SHAPE = ("NSOCKETS_PER_NODE", "NCORES_PER_SOCKET", "THREADS_PER_CORE")
_NTASKS_SET, _CPUS_SET = 1 << 14, 1 << 15  # slurm.h: JOB_NTASKS_SET, JOB_CPUS_SET


def described(name: str, directory: str, values: Mapping[str, Any]) -> JobDescription:
    """Describe a job of that name and working directory by the values of variables, named without SCRUN_."""
    layout = _Layout(name, directory, values)
    layout.take_values()
    layout.add_for_each_task()
    layout.add_nodes_and_tasks()
    given = {field: value for field, value in layout.fields.items() if value is not False and value != ""}
    if not given["bitflags"]:
        del given["bitflags"]
    return {"attributes": layout.attributes, "fields": given}


class _Layout:
    """A description that is being made."""

    def __init__(self, name: str, directory: str, values: Mapping[str, Any]) -> None:
        self.attributes: dict[str, Any] = {"name": name, "working_directory": directory}
        self.fields: dict[str, Any] = {"bitflags": 0}
        self._values = values

    def take_values(self) -> None:
        """Put each variable's value into the attribute or the fields that the table of variables names."""
        fields = self.fields
        for name, value in self._values.items():
            field = BY_NAME[name].field
            if field == ".":
                for key, part in value.items():
                    fields[key] = fields[key] | part if key == "bitflags" else part
            elif field.startswith(".tres_per_") and fields.get(field[1:]):
                fields[field[1:]] += f",{value}"
            elif field.startswith("."):
                fields[field[1:]] = value
            elif field:
                self.attributes[field] = value
        if "ntasks_per_core" in fields and "NTASKS_PER_CORE" in self._values:
            del fields["ntasks_per_core"]  # the variable itself wins over a hint
        if "threads_per_core" in fields and "THREADS_PER_CORE" in self._values:
            del fields["threads_per_core"]

    def add_for_each_task(self) -> None:
        """Add the CPUs of a task to its TRES, and bind tasks that are counted by GPU to their GPUs."""
        fields = self.fields
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

    def add_nodes_and_tasks(self) -> None:
        """Derive the number of nodes from the number of tasks, or the reverse, as salloc(1) does."""
        fields, values = self.fields, self._values
        tasks, per_node = fields.get("num_tasks"), self.attributes.get("ntasks_per_node")
        if "min_nodes" not in fields and self.attributes.get("required_nodes"):
            fields["min_nodes"] = len(expand_nodes(self.attributes["required_nodes"]))
        least, most = fields.get("min_nodes"), fields.get("max_nodes")
        if not tasks and fields.get("ntasks_per_tres"):
            tasks = fields["ntasks_per_tres"] * self._gpus(least if most in (least, None) else None)
            if tasks:
                fields["num_tasks"] = tasks
        estimate = tasks or 1
        if least and tasks:
            fields["min_nodes"] = min(least, tasks)
            if most:
                fields["max_nodes"] = max(min(most, tasks), fields["min_nodes"])
        elif least and most in (least, None):
            estimate = least * (per_node or 1)
            shape = [values[name] for name in _SHAPE if name in values]
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

    def _gpus(self, nodes: int | None) -> int:
        """The number of GPUs that the job will have on that many nodes; 0 if it isn't known before."""
        of_job, of_node = self.fields.get("tres_per_job", ""), self.fields.get("tres_per_node", "")
        where, times = (of_job, 1) if of_job else (of_node, nodes or 0)
        return times * sum(int(part.rpartition(":")[2]) for part in where.split(",") if part.startswith("gres/gpu:"))
