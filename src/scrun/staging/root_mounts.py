"""Try whether a node's runtime mounts something at a container's ``/``, because its name doesn't tell.

crun 1.28 mounts an overlay or a bind mount at ``/``; crun 1.21 and runc 1.3 refuse. A container over an image that the
node keeps needs an overlay. Root's container over files in place needs a bind mount, to disable device nodes there
(:mod:`scrun.bundle.adapt_privilege`), or a hook that changes the runtime's own mount. So the node's runtime makes a
container with such a mount, and runs nothing in it. The trial takes about 20 ms, and its result is remembered
(:mod:`scrun.staging.known`).
"""

from __future__ import annotations

from scrun import fastjson
from scrun.node_scripts import read_script

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NamedTuple

    from scrun.oci import Config, Mount
else:
    from scrun.named_tuple import NamedTuple

BIND, OVERLAY = "bind", "overlay"


class Trial(NamedTuple):
    """A trial: BIND or OVERLAY, the shell words that call the runtime, and a config with ``@DIR@`` for the bundle."""

    kind: str
    runtime: str
    config: str


def mount(kind: str, source: str, options: list[str]) -> Mount:
    """A mount at a container's ``/``; ``kind`` is BIND or OVERLAY."""
    return {"destination": "/", "type": kind, "source": source, "options": options}


def trial(kind: str, runtime: str, adapt: Callable[[Config], Config]) -> Trial:
    """Describe the trial of a mount at ``/``.

    Args:
        kind: BIND or OVERLAY.
        runtime: the shell words before a verb (:func:`scrun.slurm.node_runtime.command`).
        adapt: adapts a config to the job's user, as it does the container's.
    """
    layers = ["lowerdir=@DIR@/tree", "upperdir=@DIR@/upper", "workdir=@DIR@/work"]
    mounts = {
        BIND: mount(BIND, "@DIR@/tree", ["rbind", "nodev"]),
        OVERLAY: mount(OVERLAY, "overlay", ["userxattr", *layers]),
    }
    config: Config = {
        "ociVersion": "1.0.2",
        "process": {"args": ["/nothing"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/"]},
        "root": {"path": "@DIR@/root"},
        "mounts": [{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}],
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
    }
    fit = adapt(config)
    return Trial(kind, runtime, fastjson.dumps({**fit, "mounts": [mounts[kind], *fit["mounts"]]}))


TRY = read_script("try")
