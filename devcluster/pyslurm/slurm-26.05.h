/*
 * Lets pyslurm 25.11 compile against Slurm 26.05.
 * It is force-included (gcc -include) before everything else. Drop it the day PyPI has a pyslurm for this Slurm.
 */
#ifndef SCRUN_PYSLURM_2511_ON_2605_H
#define SCRUN_PYSLURM_2511_ON_2605_H

/*
 * By its full path: the include directory that pyslurm's setup.py is shown holds a slurm_version.h that claims 25.11,
 * and the compiled code should know the truth.
 */
#include "/usr/include/slurm/slurm_version.h"

#if (SLURM_VERSION_NUMBER >> 8) != 0x1a05
#error "this header maps pyslurm 25.11 to Slurm 26.05 and knows no other Slurm"
#endif

/*
 * In 26.05 the calls that named a job by its number take a slurm_step_id_t. With this, slurm.h accepts both: it wraps
 * them all in a C11 _Generic.
 */
#define SLURM_BACKWARD_COMPAT

#include <stdio.h>
#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>

/* Renamed without a wrapper. */
#define slurm_free_ctl_conf(conf) slurm_free_conf(conf)

/* Gone; pyslurm only lists it among the errors that it can name, so a number that no error has will do. */
#define ESLURM_ERROR_ON_DESC_TO_RECORD_COPY (-2605)

#endif
