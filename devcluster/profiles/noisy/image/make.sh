# The plugin, and the programs that Slurm runs before and after each task.
# shellcheck shell=bash
set -euo pipefail

mkdir -p /usr/local/libexec
gcc -shared -fPIC -o /usr/local/libexec/noise.so noise.c
install -m 755 prolog /usr/local/libexec/noise-prolog
install -m 755 epilog /usr/local/libexec/noise-epilog
