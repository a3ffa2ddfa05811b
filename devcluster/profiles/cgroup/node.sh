# The controllers, of which the host sees its own group as the root, and slurmd in it.
# shellcheck shell=bash
set -euo pipefail

! pgrep -x slurmd >/dev/null || exit 0
mkdir -p /run/cgroup
for controller in cpuacct cpuset devices freezer memory; do
    mkdir "/run/cgroup/$controller"
    mount -t cgroup -o "$controller" none "/run/cgroup/$controller"
    echo $$ >"/run/cgroup/$controller/cgroup.procs"
done
slurmd
