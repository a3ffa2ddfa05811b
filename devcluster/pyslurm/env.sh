# Source this before compiling pyslurm, or an extension that uses pyslurm's .pxd files, in /opt/scrun.
# -O1: compiling takes half as long, and what it wraps are calls over the network.
export CFLAGS="-include /opt/scrun/compat/slurm-@SLURM@.h -O1 -g0"
export SLURM_INCLUDE_DIR=/opt/scrun/compat/include
export SLURM_LIB_DIR=/usr/lib/@MULTIARCH@
