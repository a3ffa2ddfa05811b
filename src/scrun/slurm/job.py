"""The job that a container asks for: scrun(1)'s SCRUN_* variables, read from both environments.

One table maps each to an attribute of pyslurm.JobSubmitDescription or, where it concerns the container's step, to the
variable that srun reads. What the container's own environment says (``docker run -e SCRUN_PARTITION=gpu``) wins.
"""

from __future__ import annotations

from scrun.errors import UsageError
from scrun.slurm import srun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Parse = Callable[[str], Any]

NAME = "scrun"  # of a job that SCRUN_JOB_NAME doesn't name; the C scrun's, which sites' filters know


def _text(value: str) -> str:
    return value


def _number(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError("a whole number")
    return int(value)


def _yes(value: str) -> bool:
    known = {"": True, "1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}
    if value.lower() not in known:
        raise ValueError("yes or no")
    return known[value.lower()]


def _time(value: str) -> int | str:
    """A time limit as sbatch(1) takes it, in minutes; pyslurm reads only some of the forms itself."""
    if value.upper() in ("INFINITE", "UNLIMITED", "-1"):
        return "UNLIMITED"
    days, dash, clock = value.rpartition("-")
    parts = clock.split(":")
    if not all(part.isascii() and part.isdigit() for part in (*([days] if dash else ()), *parts)) or len(parts) > 3:
        raise ValueError("minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]] or UNLIMITED")
    numbers = [int(part) for part in parts]
    if dash or len(parts) == 3:
        hours, minutes, seconds = (*numbers, 0, 0)[:3]
    else:
        hours, minutes, seconds = 0, *(*numbers, 0)[:2]
    return (int(days or 0) * 24 + hours) * 60 + minutes + (seconds > 0)


# SCRUN_<name>: (attribute of JobSubmitDescription, parser)
JOB_VARIABLES: dict[str, tuple[str, Parse]] = {
    "ACCOUNT": ("account", _text),
    "CLUSTER_CONSTRAINT": ("cluster_constraints", _text),
    "CONSTRAINT": ("constraints", _text),
    "CORE_SPEC": ("cores_reserved_for_system", _number),
    "CPUS_PER_GPU": ("cpus_per_gpu", _text),
    "CPUS_PER_TASK": ("cpus_per_task", _number),
    "CPU_FREQ_REQ": ("cpu_frequency", _text),
    "DELAY_BOOT": ("delay_boot_time", _text),
    "DEPENDENCY": ("dependencies", _text),
    "EXCLUSIVE": ("resource_sharing", lambda value: "no" if value in ("", "exclusive", "1", "yes") else value),
    "GPUS": ("gpus", _text),
    "GPUS_PER_NODE": ("gres_per_node", lambda value: f"gpu:{value}"),
    "GPUS_PER_SOCKET": ("gpus_per_socket", _text),
    "GPUS_PER_TASK": ("gpus_per_task", _text),
    "GPU_BIND": ("gpu_binding", _text),
    "GRES": ("gres_per_node", _text),
    "JOB_NAME": ("name", _text),
    "JOB_NODELIST": ("required_nodes", _text),
    "JOB_NUM_NODES": ("nodes", _text),
    "MEM_PER_CPU": ("memory_per_cpu", _text),
    "MEM_PER_GPU": ("memory_per_gpu", _text),
    "MEM_PER_NODE": ("memory_per_node", _text),
    "NCORES_PER_SOCKET": ("cores_per_socket", _number),
    "NETWORK": ("network", _text),
    "NSOCKETS_PER_NODE": ("sockets_per_node", _number),
    "NTASKS": ("ntasks", _number),
    "NTASKS_PER_CORE": ("ntasks_per_core", _number),
    "NTASKS_PER_GPU": ("ntasks_per_gpu", _number),
    "NTASKS_PER_NODE": ("ntasks_per_node", _number),
    "OVERCOMMIT": ("overcommit", _yes),
    "PARTITION": ("partitions", _text),
    "PROFILE": ("profile_types", _text),
    "QOS": ("qos", _text),
    "REQ_SWITCH": ("switches", _text),
    "RESERVATION": ("reservations", _text),
    "SIGNAL": ("signal", _text),
    "SPREAD_JOB": ("spreads_over_nodes", _yes),
    "THREADS_PER_CORE": ("threads_per_core", _number),
    "THREAD_SPEC": ("threads_reserved_for_system", _number),
    "TIMELIMIT": ("time_limit", _time),
    "USE_MIN_NODES": ("use_min_nodes", _yes),
    "WCKEY": ("wckey", _text),
    "WORKING_DIR": ("working_directory", _text),
}

# SCRUN_<name> that srun reads as SLURM_<name> when it launches the container's step.
STEP_VARIABLES = (
    *("ACCTG_FREQ", "CPU_BIND", "EPILOG", "EXACT", "GPU_FREQ", "GRES_FLAGS", "HINT", "LABELIO", "MEM_BIND", "MPI_TYPE"),
    *("NTASKS_PER_TRES", "OVERLAP", "POWER", "PROLOG", "REMOTE_CWD", "SLURMD_DEBUG", "TASK_EPILOG", "TASK_PROLOG"),
    *("THREADS", "TRES_BIND", "TRES_PER_TASK", "UNBUFFEREDIO"),
    "DISTRIBUTION",  # of a job pyslurm refuses those that have one part only (cyclic)
    *("KILL_BAD_EXIT", "WAIT"),  # not in scrun(1), but what people with many tasks ask srun for
)
# Those of the job that srun has to be told too: it does not find them in a job that it did not ask for itself.
LAYOUT_VARIABLES = ("NTASKS", "NTASKS_PER_NODE")
PATIENCE = "SCRUN_CREATE_TIMEOUT"  # seconds that create waits for the job's nodes; 0: for ever


class Request:
    """What the environments ask for.

    ``job`` is the id of the allocation to use, or the attributes of the job to ask for; ``step`` are variables for
    srun; ``patience`` are the seconds create shall wait, None when nobody says.
    """

    def __init__(self, job: int | dict[str, Any], step: dict[str, str], patience: float | None) -> None:
        self.job, self.step, self.patience = job, step, patience


def request(caller: Mapping[str, str], container: Mapping[str, str]) -> Request:
    """Read both environments, the caller's and the container's.

    Raises:
        UsageError: a variable's value isn't one; it is named with what is accepted.
    """
    variables = {name: value for name, value in caller.items() if name.startswith("SCRUN_")}
    variables |= {name: value for name, value in container.items() if name.startswith("SCRUN_")}
    of_step = (*STEP_VARIABLES, *LAYOUT_VARIABLES)
    step = {f"SLURM_{name}": variables[f"SCRUN_{name}"] for name in of_step if f"SCRUN_{name}" in variables}
    patience = _parsed(PATIENCE, variables[PATIENCE], _number) if PATIENCE in variables else None
    existing = container.get("SLURM_JOB_ID") or caller.get("SLURM_JOB_ID")
    if existing:
        return Request(_parsed("SLURM_JOB_ID", existing, _number), step, patience)
    job: dict[str, Any] = {"name": NAME}
    for name, (attribute, parse) in JOB_VARIABLES.items():
        if f"SCRUN_{name}" in variables:
            job[attribute] = _parsed(f"SCRUN_{name}", variables[f"SCRUN_{name}"], parse)
    if "nodes" in job and "ntasks" not in job:  # pyslurm says one task, which two nodes can't share
        job["ntasks"] = _least_nodes(job["nodes"]) * job.get("ntasks_per_node", 1)
    elif "nodes" not in job and (named := len(srun.expand_nodes(job.get("required_nodes", "")))) > 1:
        # All that are named, and more if the tasks need them, is what Slurm makes of it.
        job.setdefault("ntasks", named)
        job["nodes"] = f"{named}-{max(named, job['ntasks'])}"
    if job.get("overcommit"):  # else pyslurm asks for as many CPUs as there are tasks
        job["min_cpus_per_node"] = _least_nodes(job["nodes"]) if "nodes" in job else 1
    return Request(job, step, patience)


def _least_nodes(nodes: str) -> int:
    """The lower end of sbatch's --nodes, ``2`` or ``2-4``.

    Raises:
        UsageError: it is neither.
    """
    return int(_parsed("SCRUN_JOB_NUM_NODES", nodes.partition("-")[0], _number))


def _parsed(name: str, value: str, parse: Parse) -> Any:
    try:
        return parse(value)
    except ValueError as error:
        raise UsageError(f"{name}={value!r} is not {error}") from None
