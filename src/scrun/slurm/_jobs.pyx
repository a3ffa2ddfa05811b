# cython: language_level=3
"""Ask slurmctld about jobs by libslurm's own calls, because pyslurm's load everybody's jobs."""

from libc.stdint cimport uint32_t

from scrun.slurm cimport _control
from scrun.slurm cimport libslurm as slurm


def of_user(uint32_t uid):
    """A user's jobs by their ids; see scrun.slurm.jobs."""
    cdef slurm.job_info_msg_t *message = NULL
    cdef slurm.slurm_job_info_t *job
    cdef uint32_t index
    if slurm.slurm_load_job_user(&message, uid, slurm.SHOW_ALL) or message is NULL:
        raise _control.error()
    found = {}
    try:
        for index in range(message.record_count):
            job = &message.job_array[index]
            found[slurm.scrun_job_of_record(job)] = {
                "state": _text(slurm.job_state_string(job.job_state)),
                "reason": _text(job.state_desc) or _text(slurm.job_state_reason_string(job.state_reason)),
                "partition": _text(job.partition),
                "submitted": job.submit_time,
                "container": _text(job.container_id),
                "tres": _text(job.tres_alloc_str),
            }
    finally:
        slurm.slurm_free_job_info_msg(message)
    return found


cdef _text(const char *text):
    return "" if text is NULL else (<bytes>text).decode("utf-8", "replace")


def of_job(uint32_t job_id):
    """The state of a job, and the reason why it waits, in Slurm's words; empty for no such job."""
    cdef slurm.job_info_msg_t *message = NULL
    if slurm.scrun_load_job(&message, job_id) or message is NULL:
        raise _control.error()
    try:
        if not message.record_count:
            return "", ""
        return (
            _text(slurm.job_state_string(message.job_array[0].job_state)),
            _text(slurm.job_state_reason_string(message.job_array[0].state_reason)),
        )
    finally:
        slurm.slurm_free_job_info_msg(message)


def nodes_of(uint32_t job_id):
    """The nodes that a job has or had, as a node list; empty if it never had any."""
    cdef slurm.job_info_msg_t *message = NULL
    if slurm.scrun_load_job(&message, job_id) or message is NULL:
        raise _control.error()
    try:
        return _text(message.job_array[0].nodes) if message.record_count else ""
    finally:
        slurm.slurm_free_job_info_msg(message)


def out_of_service():
    """The nodes that get no jobs, by name, each with its reason."""
    cdef slurm.node_info_msg_t *message = NULL
    cdef slurm.node_info_t *node
    cdef uint32_t index
    if slurm.slurm_load_node(0, &message, slurm.SHOW_ALL) or message is NULL:
        raise _control.error()
    found = {}
    try:
        for index in range(message.record_count):
            node = &message.node_array[index]
            if node.name is NULL or node.reason is NULL:
                continue
            if (
                node.node_state & (slurm.NODE_STATE_DRAIN | slurm.NODE_STATE_FAIL)
                or node.node_state & slurm.NODE_STATE_BASE == slurm.NODE_STATE_DOWN
            ):
                found[_text(node.name)] = _text(node.reason)
        return found
    finally:
        slurm.slurm_free_node_info_msg(message)
