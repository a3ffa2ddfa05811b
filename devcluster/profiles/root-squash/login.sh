# /home is a disk here, where scrun doesn't expect this.
# shellcheck shell=bash
set -euo pipefail

rm -f /etc/slurm/scrun.lua
sed 's/-- root_squash = true/root_squash = "ask"/' /src/etc/scrun.lua >/etc/slurm/scrun.lua
grep -q '^ *root_squash = "ask"' /etc/slurm/scrun.lua
