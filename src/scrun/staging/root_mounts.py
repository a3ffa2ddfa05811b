"""Whether a node's runtime mounts something at a container's ``/``: found out by trial, not by the runtime's name.

crun 1.28 mounts an overlay or a bind mount there, crun 1.21 and runc 1.3 refuse. A container over an image that is
kept on the node needs the first. A container of root's over files that are in place needs the second, to hide their
device nodes (:mod:`scrun.bundle.adapt_privilege`), or a hook that changes the runtime's own mount. So the node's
runtime is told to make a container with such a mount. Nothing is run in it. That takes some 20 ms, and the answer is
remembered like what the nodes see (:mod:`scrun.staging.known`).
"""

from __future__ import annotations

from scrun import fastjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NamedTuple
else:
    from scrun.named_tuple import NamedTuple

BIND, OVERLAY = "bind", "overlay"


class Trial(NamedTuple):
    """BIND or OVERLAY, the shell words that call the node's runtime, and a config with ``@DIR@`` for its bundle."""

    kind: str
    runtime: str
    config: str


def trial(kind: str, runtime: str, adapt: Callable[[dict[str, Any]], dict[str, Any]]) -> Trial:
    """Describe the trial of a mount at ``/``.

    Args:
        kind: BIND or OVERLAY.
        runtime: the shell words before a verb (:func:`scrun.slurm.node_runtime.command`).
        adapt: makes a config fit for the job's user, as the container's own.
    """
    layers = ["lowerdir=@DIR@/tree", "upperdir=@DIR@/upper", "workdir=@DIR@/work"]
    mount = {
        BIND: {"destination": "/", "type": "bind", "source": "@DIR@/tree", "options": ["rbind", "nodev"]},
        OVERLAY: {"destination": "/", "type": "overlay", "source": "overlay", "options": ["userxattr", *layers]},
    }[kind]
    config = {
        "ociVersion": "1.0.2",
        "process": {"args": ["/nothing"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/"]},
        "root": {"path": "@DIR@/root"},
        "mounts": [{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}],
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
    }
    fit = adapt(config)
    return Trial(kind, runtime, fastjson.dumps({**fit, "mounts": [mount, *fit["mounts"]]}))


# `try_runtime DIRECTORY RUNTIME CONFIG`: whether the runtime makes that container in the directory, which is the user's
# own, and is removed. Its name is one of the job's, for a site's Epilog.
TRY = r"""
try_runtime() {
    case $1 in *[\&,:\\\"]*) return 1 ;; esac
    (
        mkdir -m 700 -- "$1" && cd -P -- "$1" && mkdir tree tree/dev upper work root && : >tree/nothing &&
            chmod 755 tree/nothing && printf %s "$3" | sed "s,@DIR@,$1,g" >config.json || exit
        tried=scrun-try.$SLURM_JOB_ID.$$
        eval "$2 create --bundle . $tried" </dev/null
        made=$?
        eval "$2 delete --force $tried" </dev/null
        exit $made
    ) >/dev/null 2>&1
    set -- "$1" $?
    rm -rf --one-file-system -- "$1"
    return $2
}
"""
