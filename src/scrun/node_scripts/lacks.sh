# Sets $lacks to the path of oci.conf if the node has none, because slurmd then runs a container's program on the node
# itself. SLURM_CONF is slurmd's own in every task. If that file is hidden from the job's user, nothing is known.
lacks=
[ ! -e "$SLURM_CONF" ] || [ -e "${SLURM_CONF%/*}/oci.conf" ] || lacks=${SLURM_CONF%/*}/oci.conf
