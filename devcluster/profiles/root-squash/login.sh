# Our /home is a disk, and scrun doesn't expect a disk to refuse root: it has to be told to ask.
# shellcheck shell=bash
set -euo pipefail

rm -f /etc/slurm/scrun.lua
sed 's/-- root_squash = true/root_squash = "ask"/' /src/etc/scrun.lua >/etc/slurm/scrun.lua
grep -q '^ *root_squash = "ask"' /etc/slurm/scrun.lua
