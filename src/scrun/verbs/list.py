"""scrun list."""

from __future__ import annotations

import os
import sys

from scrun import fastjson, verbs
from scrun.lifecycle.operations import list as listing
from scrun.lifecycle.recovery import sweep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.grammar import Call
    from scrun.log import Log


def perform(call: Call, logger: Log) -> None:
    """Print the list of containers."""
    form = verbs.form(call)
    root = verbs.root(call)
    if not call.options["quiet"]:
        sweep.sweep_now(root, logger.say)
    elif os.path.isdir(root):  # for scripts, which don't wait for Slurm
        sweep.sweep_in_background(root, logger.say)
    if call.options["quiet"]:
        sys.stdout.write("".join(f"{name}\n" for name in listing.ids(root)))
        return
    entries = listing.list_containers(root)
    if form == "json":
        sys.stdout.write(fastjson.dumps(entries) + "\n")
    else:
        width = os.get_terminal_size(1).columns if os.isatty(1) else 0
        sys.stdout.write(listing.table(entries, width))
