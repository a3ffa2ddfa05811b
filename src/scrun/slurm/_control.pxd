# What _allocation shares with _control.
from scrun.slurm cimport libslurm as slurm

cdef answer(slurm.resource_allocation_response_msg_t *response, slurm.job_desc_msg_t *description)
cdef look_up_as(unsigned int job_id, slurm.job_desc_msg_t *description)
cdef error()
