# cython: language_level=3
"""The allocation that pyslurm's job description asks for.

pyslurm submits batch jobs only. An interactive allocation gives its nodes in milliseconds, where a batch job waits for
slurmctld's next batch cycle and needs a script on the node (salloc(1) does the same).
"""

from pyslurm cimport slurm
from pyslurm.core.job.submission cimport JobSubmitDescription

from scrun.slurm cimport _control


def allocate(JobSubmitDescription description):
    """Ask for the allocation that the description names.

    Returns what slurmctld answered, see scrun.slurm.allocation.request; an empty ``nodes`` means that the job is queued.
    """
    cdef slurm.resource_allocation_response_msg_t *response = NULL
    # pyslurm builds descriptors for batch jobs only and insists on a script; an allocation must not have one.
    description.script = "#!/bin/sh\n"
    description._create_job_submit_desc()
    slurm.xfree(description.ptr.script)
    if not description.nodes:
        # pyslurm says one node, however many the tasks need; nobody has said so.
        description.ptr.min_nodes = description.ptr.max_nodes = slurm.NO_VAL
    if slurm.slurm_allocate_resources(description.ptr, &response) or response is NULL:
        raise _control.error()
    try:
        return _control.answer(response, description.ptr)
    finally:
        slurm.slurm_free_resource_allocation_response_msg(response)


