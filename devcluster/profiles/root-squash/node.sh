# slurmd's root is nobody below /home.
# shellcheck shell=bash
set -euo pipefail

pgrep -x slurmd >/dev/null || LD_PRELOAD=/usr/local/libexec/squash.so slurmd
