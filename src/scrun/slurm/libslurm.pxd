# What scrun uses of libslurm; _slurm.h makes it the same for every release of Slurm.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef extern from "scrun/slurm/_slurm.h" nogil:
    const uint32_t SLURM_VERSION_NUMBER
    const uint16_t NO_VAL16
    const uint32_t NO_VAL
    const uint16_t SHOW_ALL
    const uint32_t NODE_STATE_BASE, NODE_STATE_DOWN, NODE_STATE_DRAIN, NODE_STATE_FAIL
    const uint64_t JOB_NTASKS_SET, SPREAD_JOB, USE_MIN_NODES
    const int ESLURM_JOB_PENDING, ESLURM_INVALID_JOB_ID, ESLURM_ALREADY_DONE

    ctypedef struct slurm_conf_t:
        char *cluster_name

    slurm_conf_t slurm_conf

    ctypedef struct job_desc_msg_t:
        uint64_t bitflags
        uint32_t num_tasks
        uint16_t ntasks_per_node
        char *tres_per_task

    ctypedef struct resource_allocation_response_msg_t:
        uint32_t node_cnt
        char *node_list
        char *partition
        char *job_submit_user_msg
        uint32_t uid
        uint32_t gid

    ctypedef struct slurm_job_info_t:
        uint32_t job_state
        uint32_t state_reason
        uint32_t gres_detail_cnt
        char **gres_detail_str
        char *state_desc
        char *partition
        char *container_id
        char *nodes
        char *tres_alloc_str
        long submit_time

    ctypedef struct job_info_msg_t:
        uint32_t record_count
        slurm_job_info_t *job_array

    ctypedef struct node_info_t:
        char *name
        char *reason
        uint32_t node_state

    ctypedef struct node_info_msg_t:
        uint32_t record_count
        node_info_t *node_array

    int slurm_load_node(long, node_info_msg_t **, uint16_t)
    void slurm_free_node_info_msg(node_info_msg_t *)

    void slurm_init(const char *)
    char *slurm_strerror(int)
    char *slurm_get_extra_conf_path(char *)
    char *job_state_string(uint32_t)
    char *job_state_reason_string(int)

    void slurm_init_job_desc_msg(job_desc_msg_t *)
    job_desc_msg_t *scrun_new_description()
    void slurm_free_job_desc_msg(job_desc_msg_t *)
    struct scrun_field:
        const char *name
        size_t offset
        size_t size

    const scrun_field *scrun_texts
    const scrun_field *scrun_numbers
    uint64_t scrun_number(const job_desc_msg_t *, const scrun_field *)
    const char *scrun_text(const job_desc_msg_t *, const scrun_field *)
    bint scrun_set_text(job_desc_msg_t *, const char *, const char *)
    bint scrun_set_number(job_desc_msg_t *, const char *, uint64_t)
    void scrun_be_allocation(job_desc_msg_t *)
    void scrun_describe_job(job_desc_msg_t *, uint32_t)

    int slurm_allocate_resources(job_desc_msg_t *, resource_allocation_response_msg_t **)
    int scrun_look_up(uint32_t, resource_allocation_response_msg_t **)
    void slurm_free_resource_allocation_response_msg(resource_allocation_response_msg_t *)
    uint32_t scrun_job_of_answer(const resource_allocation_response_msg_t *)
    int env_array_for_job(char ***, const resource_allocation_response_msg_t *, const job_desc_msg_t *, int)
    char **env_array_create()
    void env_array_free(char **)

    int scrun_load_job(job_info_msg_t **, uint32_t)
    int slurm_load_job_user(job_info_msg_t **, uint32_t, uint16_t)
    void slurm_free_job_info_msg(job_info_msg_t *)
    uint32_t scrun_job_of_record(const slurm_job_info_t *)

    int slurm_update_job(job_desc_msg_t *)
    int scrun_signal_job(uint32_t, uint16_t)
    int scrun_kill_job(uint32_t, uint16_t)
    int scrun_kill_step(uint32_t, uint32_t, uint16_t)
    int scrun_complete(uint32_t, uint32_t)
