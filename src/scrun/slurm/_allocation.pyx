# cython: language_level=3
"""The allocation that pyslurm's job description asks for.

pyslurm submits batch jobs only. An interactive allocation gives its nodes in milliseconds, where a batch job waits for
slurmctld's next batch cycle and needs a script on the node (salloc(1) does the same).
"""

from pyslurm cimport slurm
from pyslurm.core.job.submission cimport JobSubmitDescription
from pyslurm.utils cimport cstr

from scrun.slurm cimport _control


def allocate(JobSubmitDescription description, dict fields):
    """Ask for the allocation that the description and further fields of the descriptor name.

    Returns what slurmctld answered, see scrun.slurm.allocation.request; an empty ``nodes`` means that the job is queued.
    """
    cdef slurm.resource_allocation_response_msg_t *response = NULL
    _describe(description, fields)
    if slurm.slurm_allocate_resources(description.ptr, &response) or response is NULL:
        raise _control.error()
    try:
        return _control.answer(response, description.ptr)
    finally:
        slurm.slurm_free_resource_allocation_response_msg(response)


def look_up(job_id, JobSubmitDescription description, dict fields):
    """The same of a job that was asked for by that description; an AllocationError while it is queued or when it is gone."""
    _describe(description, fields)
    return _control.look_up_as(job_id, description.ptr)


cdef _describe(JobSubmitDescription description, dict fields):
    # pyslurm builds descriptors for batch jobs only and insists on a script; an allocation must not have one.
    description.script = "#!/bin/sh\n"
    description._create_job_submit_desc()
    cdef slurm.job_desc_msg_t *job = description.ptr
    slurm.xfree(job.script)
    # Numbers that pyslurm fills in where nobody said any; see scrun.slurm.layout.
    job.num_tasks = job.min_nodes = job.max_nodes = slurm.NO_VAL
    job.cpus_per_task = slurm.NO_VAL16
    for name, value in fields.items():
        _set(job, name, value)


cdef _set(slurm.job_desc_msg_t *job, str name, value):
    """One field by its name; Cython can't look them up."""
    if name == "bitflags":
        job.bitflags |= value
    elif name == "acctg_freq":
        cstr.fmalloc(&job.acctg_freq, value)
    elif name == "burst_buffer":
        cstr.fmalloc(&job.burst_buffer, value)
    elif name == "clusters":
        cstr.fmalloc(&job.clusters, value)
    elif name == "container_id":
        cstr.fmalloc(&job.container_id, value)
    elif name == "core_spec":
        job.core_spec = value
    elif name == "cores_per_socket":
        job.cores_per_socket = value
    elif name == "cpu_freq_gov":
        job.cpu_freq_gov = value
    elif name == "cpu_freq_max":
        job.cpu_freq_max = value
    elif name == "cpu_freq_min":
        job.cpu_freq_min = value
    elif name == "cpus_per_task":
        job.cpus_per_task = value
    elif name == "cpus_per_tres":
        cstr.fmalloc(&job.cpus_per_tres, value)
    elif name == "delay_boot":
        job.delay_boot = value
    elif name == "max_nodes":
        job.max_nodes = value
    elif name == "mem_bind":
        cstr.fmalloc(&job.mem_bind, value)
    elif name == "mem_bind_type":
        job.mem_bind_type = value
    elif name == "mem_per_tres":
        cstr.fmalloc(&job.mem_per_tres, value)
    elif name == "min_cpus":
        job.min_cpus = value
    elif name == "min_nodes":
        job.min_nodes = value
    elif name == "ntasks_per_core":
        job.ntasks_per_core = value
    elif name == "ntasks_per_tres":
        job.ntasks_per_tres = value
    elif name == "num_tasks":
        job.num_tasks = value
    elif name == "open_mode":
        job.open_mode = value
    elif name == "overcommit":
        job.overcommit = value
    elif name == "plane_size":
        job.plane_size = value
    elif name == "pn_min_memory":
        job.pn_min_memory = value
    elif name == "profile":
        job.profile = value
    elif name == "req_switch":
        job.req_switch = value
    elif name == "shared":
        job.shared = value
    elif name == "task_dist":
        job.task_dist = value
    elif name == "threads_per_core":
        job.threads_per_core = value
    elif name == "time_limit":
        job.time_limit = value
    elif name == "tres_bind":
        cstr.fmalloc(&job.tres_bind, value)
    elif name == "tres_freq":
        cstr.fmalloc(&job.tres_freq, value)
    elif name == "tres_per_job":
        cstr.fmalloc(&job.tres_per_job, value)
    elif name == "tres_per_node":
        cstr.fmalloc(&job.tres_per_node, value)
    elif name == "tres_per_socket":
        cstr.fmalloc(&job.tres_per_socket, value)
    elif name == "tres_per_task":
        cstr.fmalloc(&job.tres_per_task, value)
    elif name == "wait4switch":
        job.wait4switch = value
    elif name == "warn_flags":
        job.warn_flags = value
    elif name == "warn_signal":
        job.warn_signal = value
    elif name == "warn_time":
        job.warn_time = value
    else:
        raise AttributeError(f"the job's description has no field {name}")
