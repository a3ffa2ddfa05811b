"""Slurm: libslurm and pyslurm, srun's command lines, oci.conf, and the SCRUN_* variables."""
