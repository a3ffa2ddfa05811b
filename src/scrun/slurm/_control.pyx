# cython: language_level=3, c_string_type=unicode, c_string_encoding=utf8
"""Look up, complete and cancel a job by libslurm's own calls.

Every container's end needs one of these calls and nothing else, so this module is apart from the description of a job.
"""

from libc.errno cimport errno
from libc.signal cimport SIGKILL
from libc.stdint cimport uint32_t

from scrun.slurm cimport libslurm as slurm


PENDING = slurm.ESLURM_JOB_PENDING
GONE = (slurm.ESLURM_INVALID_JOB_ID, slurm.ESLURM_ALREADY_DONE)


def start():
    """Read slurm.conf and load Slurm's plugins; without a slurm.conf libslurm ends the process."""
    slurm.slurm_init(NULL)


def built_for():
    """The version of the Slurm that this module was built for: major, minor, micro."""
    return [slurm.SLURM_VERSION_NUMBER >> shift & 255 for shift in (16, 8, 0)]


def conf_path(str name):
    """libslurm's path of a configuration file: beside slurm.conf, or in this process's own memory."""
    return _text(slurm.slurm_get_extra_conf_path(name.encode()))


def version():
    """Major and minor number of the libslurm that this was built for: 26, 5."""
    return slurm.SLURM_VERSION_NUMBER >> 16, slurm.SLURM_VERSION_NUMBER >> 8 & 0xFF


def cluster():
    """The name of the cluster that slurm.conf belongs to."""
    return _text(slurm.slurm_conf.cluster_name)


class AllocationError(Exception):
    """An error of libslurm; ``args`` are its number and text."""


def look_up(uint32_t job_id):
    """The allocation of anybody's job that has its nodes; an AllocationError if the job is queued or gone."""
    cdef slurm.job_desc_msg_t nothing_said
    slurm.slurm_init_job_desc_msg(&nothing_said)
    return look_up_as(job_id, &nothing_said)


cdef look_up_as(unsigned int job_id, slurm.job_desc_msg_t *description):
    """The allocation of a job that was asked for by that description."""
    cdef slurm.resource_allocation_response_msg_t *response = NULL
    if slurm.scrun_look_up(job_id, &response) or response is NULL:
        raise error()
    try:
        return answer(response, description)
    finally:
        slurm.slurm_free_resource_allocation_response_msg(response)


def gres_details(uint32_t job_id):
    """The job's GRES on each of its nodes, as scontrol show job --details prints them (GRES=)."""
    cdef slurm.job_info_msg_t *answered = NULL
    cdef uint32_t index
    details = []
    if slurm.scrun_load_job(&answered, job_id):
        raise error()
    if answered.record_count:
        for index in range(answered.job_array[0].gres_detail_cnt):
            details.append(_text(answered.job_array[0].gres_detail_str[index]))
    slurm.slurm_free_job_info_msg(answered)
    return details


def cancel(uint32_t job_id):
    """Kill the job with all its steps; a queued one is withdrawn (scancel(1)).

    The steps get SIGKILL first, because slurmctld sends SIGTERM, and SIGKILL only after KillWait (slurm.conf).
    """
    slurm.scrun_signal_job(job_id, SIGKILL)
    if slurm.scrun_kill_job(job_id, SIGKILL):
        raise error()


def cancel_step(uint32_t job_id, uint32_t step_id):
    """Kill one step of a job."""
    if slurm.scrun_kill_step(job_id, step_id, SIGKILL):
        raise error()


def complete(uint32_t job_id, uint32_t wait_status):
    """Record the job as ended, with a wait(2) status."""
    if slurm.scrun_complete(job_id, wait_status):
        raise error()


_OF_TASK = "SLURM_TRES_PER_TASK="


cdef answer(slurm.resource_allocation_response_msg_t *response, slurm.job_desc_msg_t *description):
    cdef char **environment = slurm.env_array_create()
    cdef size_t index = 0
    variables = []
    if response.node_cnt:
        if description.ntasks_per_node != slurm.NO_VAL16:  # as salloc does before it builds the environment
            description.bitflags |= slurm.JOB_NTASKS_SET
        if description.bitflags & slurm.JOB_NTASKS_SET:
            if description.num_tasks == slurm.NO_VAL:
                description.num_tasks = response.node_cnt * description.ntasks_per_node
            elif response.node_cnt > description.num_tasks:
                description.num_tasks = response.node_cnt
        slurm.env_array_for_job(&environment, response, description, -1)
        while environment[index] is not NULL:
            variables.append((<bytes>environment[index]).decode("utf-8", "surrogateescape"))
            index += 1
        if description.tres_per_task is not NULL and not any(line.startswith(_OF_TASK) for line in variables):
            variables.append(_OF_TASK + _text(description.tres_per_task))  # libslurm leaves it to salloc before 25.05
    slurm.env_array_free(environment)
    return {
        "job": slurm.scrun_job_of_answer(response),
        "nodes": _text(response.node_list) if response.node_cnt else "",
        "node_count": response.node_cnt,
        "uid": response.uid,
        "gid": response.gid,
        "partition": _text(response.partition),
        "environment": variables,
        "notice": _text(response.job_submit_user_msg),
    }


cdef _text(const char *text):
    return "" if text is NULL else (<bytes>text).decode("utf-8", "surrogateescape")


cdef error():
    cdef int number = errno
    return AllocationError(number, _text(slurm.slurm_strerror(number)))
