# The key that all hosts share, as slurm.conf(5) wants it.
# shellcheck shell=bash
set -euo pipefail

head -c 1024 /dev/urandom >/etc/slurm/slurm.key
chown slurm:slurm /etc/slurm/slurm.key
chmod 600 /etc/slurm/slurm.key
