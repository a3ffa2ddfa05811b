# cython: language_level=3
"""Hand pyslurm's description of a job to scrun's part of libslurm. Built only where pyslurm is installed."""

from pyslurm.core.job.submission cimport JobSubmitDescription

from scrun.slurm cimport _allocation
from scrun.slurm cimport libslurm as slurm


def of_new_job(JobSubmitDescription described):
    """The description of an allocation."""
    # pyslurm describes batch jobs only, which must have a script; an allocation must not have one.
    described.script = "#!/bin/sh\n"
    described._create_job_submit_desc()
    return _lent(described)


def of_changes(JobSubmitDescription described):
    """The description of changes to a job that is there."""
    described._create_job_submit_desc(is_update=True)
    return _lent(described)


cdef _allocation.Description _lent(JobSubmitDescription described):
    cdef _allocation.Description description = _allocation.Description()
    description.lend(<slurm.job_desc_msg_t *> described.ptr, described)
    return description
