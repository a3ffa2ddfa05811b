"""Try whether slurmstepd, which is root, can read the files that the job's user can read on a node.

slurmstepd reads config.json before it becomes the user. Where homes have mode 0700 and the file server maps root to
nobody (root_squash), `srun --container` fails with "Unspecified error", and nothing on the node tells the user why. So
scrun tries a step with an empty bundle beside the container's own. If slurmstepd can't read that bundle, the small
bundle that scrun writes is carried to the node like files that the node doesn't see.

Only network file systems are tried, which takes 0.1 s. The result is remembered (:mod:`scrun.staging.known`).
"""

from __future__ import annotations

import os

from scrun.staging import trees
from scrun.staging.spool import encode
from scrun.staging.stage_options import ASK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scrun.oci import Config
    from scrun.staging.known import Known
    from scrun.staging.model import LogCall, NodeSteps
    from scrun.staging.spool import Spool
    from scrun.staging.stage_options import StagingOptions

_NAME = "try"
_PROGRAM = "/scrun-try"  # it doesn't exist, so nothing is run
_CONFIG: Config = {
    "ociVersion": "1.0.2",
    "process": {"args": [_PROGRAM], "cwd": "/", "env": []},
    "root": {"path": "root"},
    "mounts": [],
}


def closes(spool: Spool, step: NodeSteps, options: StagingOptions, known: Known, log: LogCall) -> bool:
    """Whether slurmstepd on some node can't read the spool, which the job's user can read there."""
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


def _try(spool: Spool, step: NodeSteps) -> bool | None:
    path = os.path.join(spool.path, _NAME)
    os.mkdir(path, 0o700)
    os.mkdir(os.path.join(path, "root"), 0o700)
    for made in (path, os.path.join(path, "root")):
        spool.give(made)
    spool.write(f"{_NAME}/config.json", encode(_CONFIG))
    try:
        return step.launches(path, [_PROGRAM])
    finally:
        trees.remove_tree(path)
