"""The table of scrun(1)'s job variables: the job's field, srun's variable, and the parser of each.

A variable has three names: ``SCRUN_<name>`` in an environment, and ``slurm.<name in lower case>`` or
``slurm.<srun's long option>`` among a container's annotations. A test compares docs/configuration.md with this table.
"""

from __future__ import annotations

from scrun.slurm import bits, parsers
from scrun.slurm.parsers import count, flag, small_count, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NamedTuple

    Parse = Callable[[str], Any]
else:
    from scrun.named_tuple import NamedTuple

PREFIX, ANNOTATION = "SCRUN_", "slurm."

# Who may set a variable. ANYBODY: the caller's environment, the container's environment (its image, -e, a YAML file)
# and the container's annotations. CALLER: the caller's environment alone, because the variable names a program, a file
# or a directory of a host, or hides facts of the job from the site or the caller, and an image may be a stranger's.
ANYBODY, CALLER = "anybody", "caller"


class Variable(NamedTuple):
    """A row of the table.

    ``field`` is an attribute of pyslurm.JobSubmitDescription. After a dot it is a field of Slurm's job_desc_msg_t,
    because pyslurm has no such attribute, or parses it in another way than srun. A lone dot means that ``parse``
    returns several fields. ``srun`` is the variable for the srun that starts the container's step. ``who`` is ANYBODY
    or CALLER.
    """

    name: str
    who: str
    option: str  # srun's, without the dashes
    field: str
    srun: str
    parse: Parse
    help: str


def _job(name: str, who: str, option: str, field: str, parse: Parse, help: str) -> Variable:
    """A variable of the job; srun finds its effects in the job's environment."""
    return Variable(name, who, option, field, "", parse, help)


def _both(name: str, who: str, option: str, field: str, parse: Parse, help: str) -> Variable:
    """A variable of the job, and of each step that uses it."""
    return Variable(name, who, option, field, f"SLURM_{name}", parse, help)


def _step(name: str, who: str, option: str, parse: Parse, help: str) -> Variable:
    """A variable of the container's step only."""
    return Variable(name, who, option, "", f"SLURM_{name}", parse, help)


TABLE = (
    _job("ACCOUNT", ANYBODY, "account", "account", text, "account that the job is charged to"),
    _both("ACCTG_FREQ", CALLER, "acctg-freq", ".acctg_freq", text, "how often accounting samples: task=30"),
    _job("BURST_BUFFER", CALLER, "bb", ".burst_buffer", text, "burst buffer specification"),
    _job(
        "CLUSTER_CONSTRAINT",
        ANYBODY,
        "cluster-constraint",
        "cluster_constraints",
        text,
        "features of a federation's cluster",
    ),
    _job("CLUSTERS", ANYBODY, "clusters", ".clusters", text, "the name of this cluster; another name is refused"),
    _job("COMMENT", CALLER, "comment", ".comment", text, "the job's comment (default: the image and the command)"),
    _job("CONSTRAINT", ANYBODY, "constraint", "constraints", text, "features that the nodes must have"),
    _job("CORE_SPEC", ANYBODY, "core-spec", ".core_spec", small_count, "cores of each node kept for the system"),
    _step("CPU_BIND", ANYBODY, "cpu-bind", text, "how tasks are bound to CPUs"),
    _both(
        "CPU_FREQ_REQ", ANYBODY, "cpu-freq", ".", bits.cpu_freq, "CPU frequency or governor: low, 2000000, performance"
    ),
    _both("CPUS_PER_GPU", ANYBODY, "cpus-per-gpu", ".cpus_per_tres", parsers.per_gpu, "CPUs for each GPU"),
    _job("CPUS_PER_TASK", ANYBODY, "cpus-per-task", ".cpus_per_task", small_count, "CPUs for each task"),
    _job(
        "DELAY_BOOT", ANYBODY, "delay-boot", ".delay_boot", parsers.seconds, "minutes to wait before nodes are rebooted"
    ),
    _job("DEPENDENCY", ANYBODY, "dependency", "dependencies", text, "jobs that this one waits for: afterok:123"),
    _job("DISTRIBUTION", ANYBODY, "distribution", ".", bits.distribution, "layout of tasks: block, cyclic, plane=4"),
    _step("EPILOG", CALLER, "epilog", text, "program run here after the container's step"),
    _step("EXACT", ANYBODY, "exact", flag, "the step takes only what it asks for"),
    _job(
        "EXCLUSIVE",
        ANYBODY,
        "exclusive",
        ".shared",
        bits.exclusive,
        "no other jobs on the nodes: exclusive, user, mcs, topo",
    ),
    Variable(
        "GPU_BIND",
        ANYBODY,
        "gpu-bind",
        ".tres_bind",
        "SLURM_TRES_BIND",
        parsers.gpu_bind,
        "how tasks are bound to GPUs: single:1",
    ),
    _both("GPU_FREQ", ANYBODY, "gpu-freq", ".tres_freq", parsers.gpu_freq, "GPU frequency: low, high, 1000"),
    _both("GPUS", ANYBODY, "gpus", ".tres_per_job", parsers.gpus, "GPUs of the whole job: 2, a100:2"),
    _both("GPUS_PER_NODE", ANYBODY, "gpus-per-node", ".tres_per_node", parsers.gpus, "GPUs on each node"),
    _both("GPUS_PER_SOCKET", ANYBODY, "gpus-per-socket", ".tres_per_socket", parsers.gpus, "GPUs on each socket"),
    _job("GPUS_PER_TASK", ANYBODY, "gpus-per-task", ".tres_per_task", parsers.gpus_per_task, "GPUs for each task"),
    _both("GRES_FLAGS", ANYBODY, "gres-flags", ".", bits.gres_flags, "enforce-binding, disable-binding and so on"),
    _job("GRES", ANYBODY, "gres", ".tres_per_node", parsers.gres, "generic resources on each node: gpu:2"),
    _both("HINT", ANYBODY, "hint", ".", bits.hint, "compute_bound, memory_bound, multithread, nomultithread"),
    _job("JOB_NAME", ANYBODY, "job-name", "name", text, "the job's name (default: scrun)"),
    _job("JOB_NODELIST", ANYBODY, "nodelist", "required_nodes", parsers.node_list, "nodes that the job must have"),
    _job("JOB_NUM_NODES", ANYBODY, "nodes", ".", parsers.nodes, "number of nodes: 2, 2-4"),
    _step("KILL_BAD_EXIT", ANYBODY, "kill-on-bad-exit", flag, "the first task that fails ends the others"),
    _step("LABELIO", ANYBODY, "label", flag, "each line of output begins with the task's number"),
    _both("MEM_BIND", ANYBODY, "mem-bind", ".", bits.mem_bind, "how tasks are bound to memory: local"),
    _job(
        "MEM_PER_CPU",
        ANYBODY,
        "mem-per-cpu",
        ".pn_min_memory",
        parsers.mebibytes_per_cpu,
        "memory for each CPU: 500M, 2G",
    ),
    _both("MEM_PER_GPU", ANYBODY, "mem-per-gpu", ".mem_per_tres", parsers.memory_per_gpu, "memory for each GPU"),
    _job("MEM_PER_NODE", ANYBODY, "mem", ".pn_min_memory", parsers.mebibytes, "memory on each node; 0: all of it"),
    _step("MPI_TYPE", ANYBODY, "mpi", text, "MPI plugin: none, pmix, pmi2"),
    _job(
        "NCORES_PER_SOCKET",
        ANYBODY,
        "cores-per-socket",
        "cores_per_socket",
        small_count,
        "cores that a socket must have",
    ),
    _job("NETWORK", ANYBODY, "network", "network", text, "network specification"),
    _job(
        "NSOCKETS_PER_NODE",
        ANYBODY,
        "sockets-per-node",
        "sockets_per_node",
        small_count,
        "sockets that a node must have",
    ),
    _job("NTASKS", ANYBODY, "ntasks", ".num_tasks", count, "number of tasks; each runs the container once"),
    _both(
        "NTASKS_PER_CORE",
        ANYBODY,
        "ntasks-per-core",
        "ntasks_per_core",
        small_count,
        "the largest number of tasks on a core",
    ),
    _both("NTASKS_PER_GPU", ANYBODY, "ntasks-per-gpu", ".ntasks_per_tres", small_count, "tasks for each GPU"),
    _job("NTASKS_PER_NODE", ANYBODY, "ntasks-per-node", "ntasks_per_node", small_count, "tasks on each node"),
    _both("NTASKS_PER_TRES", ANYBODY, "ntasks-per-tres", ".ntasks_per_tres", small_count, "tasks for each GPU"),
    _both(
        "OPEN_MODE", CALLER, "open-mode", ".open_mode", bits.open_mode, "standard error as a file: append or truncate"
    ),
    _job("OVERCOMMIT", ANYBODY, "overcommit", ".overcommit", flag, "more tasks than CPUs"),
    _step("OVERLAP", ANYBODY, "overlap", flag, "the step shares what it has with other steps"),
    _job("PARTITION", ANYBODY, "partition", "partitions", text, "partitions, separated by commas"),
    _step("POWER", ANYBODY, "power", text, "power management; without effect since Slurm 24.05"),
    _both(
        "PROFILE", ANYBODY, "profile", ".profile", bits.profile, "what is profiled: none, energy, task, network, all"
    ),
    _step("PROLOG", CALLER, "prolog", text, "program run here before the container's step"),
    _job("QOS", ANYBODY, "qos", "qos", text, "quality of service"),
    _both(
        "REMOTE_CWD",
        CALLER,
        "chdir",
        "working_directory",
        text,
        "the step's working directory; the container's is its own",
    ),
    _job(
        "REQ_SWITCH",
        ANYBODY,
        "switches",
        ".",
        parsers.switches,
        "the largest number of switches between the nodes: 1, 1@10:00",
    ),
    _job("RESERVATION", ANYBODY, "reservation", "reservations", text, "reservation"),
    _job("SIGNAL", ANYBODY, "signal", ".", bits.warning_signal, "signal to send before the time limit: USR1@60"),
    Variable(
        "SLURMD_DEBUG", CALLER, "slurmd-debug", "", "SLURMD_DEBUG", text, "how much slurmstepd logs: quiet to debug5"
    ),
    _job("SPREAD_JOB", ANYBODY, "spread-job", "spreads_over_nodes", flag, "use as many nodes as possible"),
    _step("TASK_EPILOG", CALLER, "task-epilog", text, "program run on the node after each task"),
    _step("TASK_PROLOG", CALLER, "task-prolog", text, "program run on the node before each task"),
    _job(
        "THREAD_SPEC", ANYBODY, "thread-spec", ".core_spec", parsers.threads, "threads of each node kept for the system"
    ),
    _step("THREADS", CALLER, "threads", count, "threads of srun itself"),
    _job(
        "THREADS_PER_CORE", ANYBODY, "threads-per-core", "threads_per_core", small_count, "threads to use of each core"
    ),
    _job("TIMELIMIT", ANYBODY, "time", ".time_limit", parsers.minutes, "time limit: 30, 1:00:00, 2-12"),
    _both("TRES_BIND", ANYBODY, "tres-bind", ".tres_bind", text, "how tasks are bound to TRES: gres/gpu:single:1"),
    _job(
        "TRES_PER_TASK",
        ANYBODY,
        "tres-per-task",
        ".tres_per_task",
        parsers.tres,
        "TRES for each task: cpu=2,gres/gpu=1",
    ),
    _step("UNBUFFEREDIO", ANYBODY, "unbuffered", flag, "pass on output at once, not in whole lines"),
    _job("USE_MIN_NODES", ANYBODY, "use-min-nodes", "use_min_nodes", flag, "use as few nodes of a range as possible"),
    _step("WAIT", ANYBODY, "wait", parsers.number, "seconds that the other tasks have when one has ended; 0: no limit"),
    _job(
        "WAIT4SWITCH", ANYBODY, "wait4switch", ".wait4switch", parsers.seconds, "time to wait for REQ_SWITCH's switches"
    ),
    _job("WCKEY", ANYBODY, "wckey", "wckey", text, "workload characterization key"),
    _both("WORKING_DIR", CALLER, "chdir", "working_directory", text, "as REMOTE_CWD, and wins over it"),
)

BY_NAME = {row.name: row for row in TABLE}

# scrun's own variables, which are not the job's, and who may set them. manual.py describes them.
OWN = {
    **dict.fromkeys(("CREATE_TIMEOUT", "NET", "NODE", "NODE_TIMEOUT", "NOTICES", "RESOURCES", "SHARE_JOB"), ANYBODY),
    **dict.fromkeys(("DEBUG", "FILE_DEBUG", "HISTORY", "LUA", "PYSLURM", "STDERR_DEBUG", "SYSLOG_DEBUG"), CALLER),
}
# Variables that scrun sets for its hooks. A container that starts another one passes them on, without effect.
GIVEN_TO_HOOKS = (
    *("OCI_VERSION", "CONTAINER_ID", "PID", "BUNDLE", "SUBMISSION_BUNDLE", "PID_FILE", "SOCKET", "SPOOL_DIR"),
    *("SUBMISSION_CONFIG_FILE", "USER", "USER_ID", "GROUP", "GROUP_ID", "ROOT", "ROOTFS_PATH", "CACHE"),
    *("SUBMISSION_ROOTFS_PATH", "LOG_FILE", "LOG_FORMAT"),
)


def of_annotation(key: str) -> str:
    """The variable that an annotation sets, for example PARTITION for slurm.partition; empty for other annotations.

    ``slurm.time-limit`` and ``slurm.time_limit`` are the same. srun's long options and the variables' names are both
    accepted.
    """
    if not key.startswith(ANNOTATION):
        return ""
    word = key[len(ANNOTATION) :].lower().replace("_", "-")
    for row in TABLE:
        if word in (row.option, row.name.lower().replace("_", "-")) or word.replace("-", "") == row.name.lower():
            return row.name
    own = {
        "memory": "MEM_PER_NODE",
        "net": "NET",
        "notices": "NOTICES",
        "resources": "RESOURCES",
        "share-job": "SHARE_JOB",
    }
    return own.get(word, "")


def who_may_set(name: str) -> str:
    """Who may set a variable, ANYBODY or CALLER; empty for an unknown one. The name is without SCRUN_."""
    return BY_NAME[name].who if name in BY_NAME else OWN.get(name, "")


def nearest(name: str) -> str:
    """The known variable that is most like an unknown one; empty if none is."""
    import difflib  # seldom needed, and importing it takes as long as reading the whole table

    known = [f"{PREFIX}{row.name}" for row in TABLE] + [f"{PREFIX}{own}" for own in (*OWN, *GIVEN_TO_HOOKS)]
    return next(iter(difflib.get_close_matches(name, known, 1, 0.85)), "")
