# cython: language_level=3, c_string_type=unicode, c_string_encoding=utf8
"""The calls of libslurm that pyslurm declares but does not export, on the descriptor that pyslurm builds.

An interactive allocation gives its nodes in milliseconds, where a batch job waits for slurmctld's next batch cycle and
needs a script on the node (salloc(1) does the same).
"""

from libc.errno cimport errno
from libc.stdint cimport uint32_t

from pyslurm cimport slurm
from pyslurm.core.job.submission cimport JobSubmitDescription


cdef extern from *:
    """
    #include <slurm/slurm.h>
    /* What salloc and srun build a job's environment with: in libslurmfull, but in no installed header. */
    extern int env_array_for_job(char ***dest, const resource_allocation_response_msg_t *alloc,
                                 const job_desc_msg_t *desc, int het_job_offset);
    extern char **env_array_create(void);
    extern void env_array_free(char **env_array);
    """
    int env_array_for_job(char ***, const slurm.resource_allocation_response_msg_t *, const slurm.job_desc_msg_t *, int)
    char **env_array_create()
    void env_array_free(char **)


PENDING = slurm.ESLURM_JOB_PENDING
GONE = (slurm.ESLURM_INVALID_JOB_ID, slurm.ESLURM_ALREADY_DONE)


class AllocationError(Exception):
    """libslurm's word for what went wrong; ``args`` are its error number and text."""


def allocate(JobSubmitDescription description):
    """Ask for the allocation that the description names.

    Returns what slurmctld answered, see :func:`_answer`; an empty ``nodes`` means that the job is queued.
    """
    cdef slurm.resource_allocation_response_msg_t *response = NULL
    # pyslurm builds descriptors for batch jobs only and insists on a script; an allocation must not have one.
    description.script = "#!/bin/sh\n"
    description._create_job_submit_desc()
    slurm.xfree(description.ptr.script)
    if slurm.slurm_allocate_resources(description.ptr, &response) or response is NULL:
        raise _error()
    try:
        return _answer(response, description.ptr)
    finally:
        slurm.slurm_free_resource_allocation_response_msg(response)


def look_up(uint32_t job_id):
    """The allocation of a job that has its nodes; an AllocationError while it is queued, and when it is gone."""
    cdef slurm.resource_allocation_response_msg_t *response = NULL
    if slurm.slurm_allocation_lookup(job_id, &response) or response is NULL:
        raise _error()
    try:
        return _answer(response, NULL)
    finally:
        slurm.slurm_free_resource_allocation_response_msg(response)


def complete(uint32_t job_id, uint32_t wait_status):
    """Record the job as ended by itself, with that wait(2) status."""
    cdef slurm.slurm_step_id_t step
    step.job_id = job_id
    step.step_id = slurm.NO_VAL
    step.step_het_comp = slurm.NO_VAL
    step.sluid = 0
    if slurm.slurm_complete_job(&step, wait_status):
        raise _error()


cdef _answer(slurm.resource_allocation_response_msg_t *response, slurm.job_desc_msg_t *description):
    cdef char **environment = env_array_create()
    cdef size_t index = 0
    variables = []
    if response.node_cnt:
        env_array_for_job(&environment, response, description, -1)
        while environment[index] is not NULL:
            variables.append((<bytes>environment[index]).decode("utf-8", "surrogateescape"))
            index += 1
    env_array_free(environment)
    return {
        "job": response.step_id.job_id,
        "nodes": _text(response.node_list) if response.node_cnt else "",
        "node_count": response.node_cnt,
        "uid": response.uid,
        "gid": response.gid,
        "partition": _text(response.partition),
        "environment": variables,
    }


cdef _text(const char *text):
    return "" if text is NULL else (<bytes>text).decode("utf-8", "surrogateescape")


cdef _error():
    cdef int number = errno
    return AllocationError(number, _text(slurm.slurm_strerror(number)))
