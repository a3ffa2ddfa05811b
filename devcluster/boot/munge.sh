# Runs on each host, as root, at each `devcluster up`: munged, where it is what Slurm's daemons know each other by.
# shellcheck shell=bash
set -euo pipefail

grep -q ^AuthType=auth/munge /etc/slurm/slurm.conf || exit 0
! pgrep -x munged >/dev/null || exit 0
install -d -o munge -g munge /run/munge
setpriv --reuid munge --regid munge --init-groups munged
