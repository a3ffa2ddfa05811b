# What _pyslurm fills in.
from scrun.slurm cimport libslurm as slurm

cdef class Description:
    cdef slurm.job_desc_msg_t *job
    cdef object owner

    cdef lend(self, slurm.job_desc_msg_t *job, object owner)
