/*
 * The part of libslurm that scrun calls, the same for every release from 24.11 to 26.05.
 *
 * Two releases changed what scrun needs:
 *   25.11  a record names its job by a slurm_step_id_t; the calls for steps, and slurm_complete_job, take one
 *   26.05  the calls for jobs take one as well, unless SLURM_BACKWARD_COMPAT is defined before slurm.h
 */
#ifndef SCRUN_SLURM_H
#define SCRUN_SLURM_H

#include <slurm/slurm_version.h>

/* SLURM_VERSION_NUMBER is one byte each of major, minor and micro version. */
#define SCRUN_SLURM_SINCE(major, minor) (SLURM_VERSION_NUMBER >= ((major) << 16 | (minor) << 8))

#if !SCRUN_SLURM_SINCE(24, 11)
#error "scrun needs Slurm 24.11 or later: before that, a job has no container id, and oci.conf no EnvExclude and no %U"
#endif

#ifndef SLURM_BACKWARD_COMPAT
#define SLURM_BACKWARD_COMPAT
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>

/* Functions of libslurmfull that no installed header declares. */
extern int env_array_for_job(char ***dest, const resource_allocation_response_msg_t *allocation,
                             const job_desc_msg_t *description, int het_job_offset);
extern char **env_array_create(void);
extern void env_array_free(char **environment);
extern char *slurm_get_extra_conf_path(char *name);
extern char *job_state_string(uint32_t state);
extern char *job_state_reason_string(int reason);
extern slurm_conf_t slurm_conf; /* the configuration that slurm_init has read */
extern void slurm_xfree(void **memory);
extern char *slurm_xstrdup(const char *text);
extern void slurm_free_job_desc_msg(job_desc_msg_t *description);

#if SCRUN_SLURM_SINCE(25, 11)

#define SCRUN_JOB_ID(record) ((record)->step_id.job_id)

static inline slurm_step_id_t scrun_step(uint32_t job, uint32_t step)
{
        slurm_step_id_t id;
        memset(&id, 0, sizeof(id));
        id.job_id = job;
        id.step_id = step;
        id.step_het_comp = NO_VAL;
        return id;
}

static inline int scrun_kill_step(uint32_t job, uint32_t step, uint16_t signal)
{
        slurm_step_id_t id = scrun_step(job, step);
        return slurm_kill_job_step(&id, signal, 0);
}

static inline int scrun_complete(uint32_t job, uint32_t wait_status)
{
        slurm_step_id_t id = scrun_step(job, NO_VAL);
        return slurm_complete_job(&id, wait_status);
}

static inline void scrun_describe_job(job_desc_msg_t *description, uint32_t job)
{
        description->step_id = scrun_step(job, NO_VAL);
}

#else

#define SCRUN_JOB_ID(record) ((record)->job_id)

static inline int scrun_kill_step(uint32_t job, uint32_t step, uint16_t signal)
{
        return slurm_kill_job_step(job, step, signal, 0);
}

static inline int scrun_complete(uint32_t job, uint32_t wait_status)
{
        return slurm_complete_job(job, wait_status);
}

static inline void scrun_describe_job(job_desc_msg_t *description, uint32_t job)
{
        description->job_id = job;
}

#endif

static inline uint32_t scrun_job_of_answer(const resource_allocation_response_msg_t *answer)
{
        return SCRUN_JOB_ID(answer);
}

static inline uint32_t scrun_job_of_record(const slurm_job_info_t *record)
{
        return SCRUN_JOB_ID(record);
}

/* Functions for macros of slurm.h that Cython can't call, or that are a _Generic in 26.05. */

static inline int scrun_look_up(uint32_t job, resource_allocation_response_msg_t **answer)
{
        return slurm_allocation_lookup(job, answer);
}

static inline int scrun_load_job(job_info_msg_t **answer, uint32_t job)
{
        return slurm_load_job(answer, job, SHOW_DETAIL);
}

static inline int scrun_signal_job(uint32_t job, uint16_t signal)
{
        return slurm_signal_job(job, signal);
}

static inline int scrun_kill_job(uint32_t job, uint16_t signal)
{
        return slurm_kill_job(job, signal, KILL_FULL_JOB);
}

/* The fields of a job's description that scrun sets, found by name. */

struct scrun_field {
        const char *name;
        size_t offset;
        size_t size; /* bytes */
};

#define SCRUN_FIELD(name) { #name, offsetof(job_desc_msg_t, name), sizeof(((job_desc_msg_t *) 0)->name) }

static const struct scrun_field scrun_texts[] = {
        SCRUN_FIELD(account), SCRUN_FIELD(acctg_freq), SCRUN_FIELD(burst_buffer), SCRUN_FIELD(cluster_features),
        SCRUN_FIELD(clusters), SCRUN_FIELD(comment), SCRUN_FIELD(container_id), SCRUN_FIELD(cpus_per_tres),
        SCRUN_FIELD(dependency),
        SCRUN_FIELD(features), SCRUN_FIELD(mem_bind), SCRUN_FIELD(mem_per_tres), SCRUN_FIELD(name),
        SCRUN_FIELD(network), SCRUN_FIELD(partition), SCRUN_FIELD(qos), SCRUN_FIELD(req_nodes),
        SCRUN_FIELD(reservation), SCRUN_FIELD(submit_line), SCRUN_FIELD(tres_bind), SCRUN_FIELD(tres_freq), SCRUN_FIELD(tres_per_job),
        SCRUN_FIELD(tres_per_node), SCRUN_FIELD(tres_per_socket), SCRUN_FIELD(tres_per_task), SCRUN_FIELD(wckey),
        SCRUN_FIELD(work_dir), { NULL, 0, 0 },
};

static const struct scrun_field scrun_numbers[] = {
        SCRUN_FIELD(core_spec), SCRUN_FIELD(cores_per_socket), SCRUN_FIELD(cpu_freq_gov), SCRUN_FIELD(cpu_freq_max),
        SCRUN_FIELD(cpu_freq_min), SCRUN_FIELD(cpus_per_task), SCRUN_FIELD(delay_boot), SCRUN_FIELD(max_nodes),
        SCRUN_FIELD(mem_bind_type), SCRUN_FIELD(min_cpus), SCRUN_FIELD(min_nodes), SCRUN_FIELD(ntasks_per_core),
        SCRUN_FIELD(ntasks_per_node), SCRUN_FIELD(ntasks_per_tres), SCRUN_FIELD(num_tasks), SCRUN_FIELD(open_mode),
        SCRUN_FIELD(overcommit), SCRUN_FIELD(plane_size), SCRUN_FIELD(pn_min_memory), SCRUN_FIELD(profile),
        SCRUN_FIELD(req_switch), SCRUN_FIELD(shared), SCRUN_FIELD(sockets_per_node), SCRUN_FIELD(task_dist),
        SCRUN_FIELD(threads_per_core), SCRUN_FIELD(time_limit), SCRUN_FIELD(wait4switch), SCRUN_FIELD(warn_flags),
        SCRUN_FIELD(warn_signal), SCRUN_FIELD(warn_time), { NULL, 0, 0 },
};

static inline const struct scrun_field *scrun_find(const struct scrun_field *table, const char *name)
{
        for (; table->name; table++)
                if (!strcmp(table->name, name))
                        return table;
        return NULL;
}

/* Set a text, which Slurm's allocator then owns; false if there is no such field. */
static inline bool scrun_set_text(job_desc_msg_t *description, const char *name, const char *text)
{
        const struct scrun_field *field = scrun_find(scrun_texts, name);
        if (!field)
                return false;
        char **place = (char **) ((char *) description + field->offset);
        slurm_xfree((void **) place);
        *place = *text ? slurm_xstrdup(text) : NULL;
        return true;
}

/* Set a number; false if there is no such field, or if the number doesn't fit into it. */
static inline bool scrun_set_number(job_desc_msg_t *description, const char *name, uint64_t number)
{
        const struct scrun_field *field = scrun_find(scrun_numbers, name);
        if (!field)
                return false;
        void *place = (char *) description + field->offset;
        switch (field->size) {
        case sizeof(uint8_t):
                *(uint8_t *) place = number;
                return number <= UINT8_MAX;
        case sizeof(uint16_t):
                *(uint16_t *) place = number;
                return number <= UINT16_MAX;
        case sizeof(uint32_t):
                *(uint32_t *) place = number;
                return number <= UINT32_MAX;
        default:
                *(uint64_t *) place = number;
                return true;
        }
}

static inline const char *scrun_text(const job_desc_msg_t *description, const struct scrun_field *field)
{
        return *(char *const *) ((const char *) description + field->offset);
}

static inline uint64_t scrun_number(const job_desc_msg_t *description, const struct scrun_field *field)
{
        const void *place = (const char *) description + field->offset;
        switch (field->size) {
        case sizeof(uint8_t):
                return *(const uint8_t *) place;
        case sizeof(uint16_t):
                return *(const uint16_t *) place;
        case sizeof(uint32_t):
                return *(const uint32_t *) place;
        default:
                return *(const uint64_t *) place;
        }
}

/*
 * Make the description an allocation's, as salloc makes an empty one: without a script and its environment, and without
 * the numbers of a batch job that pyslurm fills in.
 */
static inline void scrun_be_allocation(job_desc_msg_t *description)
{
        job_desc_msg_t unsaid;
        slurm_init_job_desc_msg(&unsaid);
        description->cpus_per_task = unsaid.cpus_per_task;
        description->mail_type = unsaid.mail_type;
        description->max_nodes = unsaid.max_nodes;
        description->min_nodes = unsaid.min_nodes;
        description->num_tasks = unsaid.num_tasks;
        description->profile = unsaid.profile;
        description->reboot = unsaid.reboot;
        description->segment_size = unsaid.segment_size;
        description->resv_port_cnt = NO_VAL16;
        description->task_dist = SLURM_DIST_UNKNOWN;
        slurm_xfree((void **) &description->script);
        if (description->environment)
                env_array_free(description->environment);
        description->environment = NULL;
        description->env_size = 0;
}

/* A new description from Slurm's allocator, which slurm_free_job_desc_msg() frees. */
extern void *slurm_xcalloc(size_t, size_t, bool, bool, const char *, int, const char *);
static inline job_desc_msg_t *scrun_new_description(void)
{
        job_desc_msg_t *description =
                slurm_xcalloc(1, sizeof(*description), true, true, __FILE__, __LINE__, __func__);
        if (description)
                slurm_init_job_desc_msg(description);
        return description;
}

#endif
