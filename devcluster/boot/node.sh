# Runs on each node, as root, at each `devcluster up`.
# shellcheck shell=bash
set -euo pipefail

running() { pgrep -x "$1" >/dev/null; }

if ! running munged; then
    install -d -o munge -g munge /run/munge
    setpriv --reuid munge --regid munge --init-groups munged
fi
running slurmd || slurmd
