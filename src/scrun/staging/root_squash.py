"""Whether slurmstepd, which is root, can read what the user's job reads: a file server that squashes root may say no.

slurmstepd reads config.json before it becomes the user, so where homes are closed to others (mode 700) and the server
takes root for nobody, `srun --container` fails with "Unspecified error", and nothing that a user can ask on the node
tells. So a step is tried: with a bundle that holds nothing, beside the container's own. If slurmstepd can't read that,
the small bundle that scrun writes is carried to the node like files that the node doesn't see.

It is tried on file systems of the network only, which takes 0.1 s, and remembered as what the nodes see is
(:mod:`scrun.staging.known`).
"""

from __future__ import annotations

import os

from scrun.staging import trees
from scrun.staging.options import ASK
from scrun.staging.spool import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.staging.known import Known
    from scrun.staging.model import Log, Step
    from scrun.staging.options import Options
    from scrun.staging.spool import Spool

_NAME = "try"
_PROGRAM = "/scrun-try"  # which is nowhere: nothing is run
_CONFIG = {
    "ociVersion": "1.0.2",
    "process": {"args": [_PROGRAM], "cwd": "/", "env": []},
    "root": {"path": "root"},
    "mounts": [],
}


def closes(spool: Spool, step: Step, options: Options, known: Known, log: Log) -> bool:
    """Whether slurmstepd on one of the nodes can't read the spool, which the job's user can read there."""
    if isinstance(options.root_squash, bool):
        return options.root_squash
    if options.root_squash != ASK and known.is_local(spool.path):
        return False
    is_open = known.is_open_to_root(spool.path, step.nodes)
    if is_open is None:
        is_open = _try(spool, step)
        if is_open is None:
            return False  # the container's own step will tell
        known.learn_open_to_root(spool.path, step.nodes, is_open)
    if not is_open:
        log("info", f"root of {', '.join(step.nodes)} can't read {spool.path}: the bundle is carried there")
    return not is_open


def _try(spool: Spool, step: Step) -> bool | None:
    path = os.path.join(spool.path, _NAME)
    os.mkdir(path, 0o700)
    os.mkdir(os.path.join(path, "root"), 0o700)
    for made in (path, os.path.join(path, "root")):
        spool.give(made)
    spool.write(f"{_NAME}/config.json", encode(_CONFIG))
    try:
        return step.launches(path, [_PROGRAM])
    finally:
        trees.remove(path)
