# Runs on login, as root, at each `devcluster up`: starts what isn't running.
# shellcheck shell=bash
set -euo pipefail

running() { pgrep -x "$1" >/dev/null; }

running slurmctld || slurmctld
running dockerd || setsid --fork dockerd </dev/null >>/var/log/dockerd.log 2>&1
