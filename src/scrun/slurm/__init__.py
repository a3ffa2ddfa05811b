"""Everything that knows Slurm: pyslurm, srun, oci.conf."""
