/* Read by pyslurm's setup.py alone, which accepts only the Slurm it was written for. See slurm-26.05.h. */
#define SLURM_VERSION_NUMBER 0x190b00
