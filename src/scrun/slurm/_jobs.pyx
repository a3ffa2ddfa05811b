# cython: language_level=3
"""What slurmctld tells of a user's jobs, by libslurm's own call: pyslurm's loads everybody's."""

from libc.stdint cimport uint32_t

from pyslurm cimport slurm

from scrun.slurm cimport _control


cdef extern from *:
    """
    /* In libslurmfull, but in no installed header; pyslurm declares them the same way. */
    extern char *job_state_string(unsigned int state);
    extern char *job_state_reason_string(int reason);
    """
    char *job_state_string(unsigned int)
    char *job_state_reason_string(int)


def of_user(uint32_t uid):
    """That user's jobs, by their ids: see scrun.slurm.jobs."""
    cdef slurm.job_info_msg_t *message = NULL
    cdef slurm.slurm_job_info_t *job
    cdef uint32_t index
    if slurm.slurm_load_job_user(&message, uid, slurm.SHOW_ALL) or message is NULL:
        raise _control.error()
    found = {}
    try:
        for index in range(message.record_count):
            job = &message.job_array[index]
            found[job.step_id.job_id] = {
                "state": _text(job_state_string(job.job_state)),
                "reason": _text(job.state_desc) or _text(job_state_reason_string(job.state_reason)),
                "partition": _text(job.partition),
                "submitted": job.submit_time,
                "container": _text(job.container_id),
            }
    finally:
        slurm.slurm_free_job_info_msg(message)
    return found


cdef _text(const char *text):
    return "" if text is NULL else (<bytes>text).decode("utf-8", "replace")
