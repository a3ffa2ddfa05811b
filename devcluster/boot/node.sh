# Runs on each node, as root, at each `devcluster up`.
# shellcheck shell=bash
set -euo pipefail

running() { pgrep -x "$1" >/dev/null; }

running slurmd || slurmd
