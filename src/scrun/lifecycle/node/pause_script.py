"""The scripts that stop every process of a container on a node, and let the processes go on."""

from __future__ import annotations

from scrun.node_scripts import read_script

_LOOK_AT = read_script("look_at")
STOP = _LOOK_AT + read_script("stop")
CONTINUE = _LOOK_AT + read_script("continue")
