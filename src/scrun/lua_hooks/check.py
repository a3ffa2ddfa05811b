"""``scrun lua check``: find errors in a script without a job and without running a command."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Mapping

from scrun.errors import HookError
from scrun.lua_hooks.calls import StageInCall, StageOutCall
from scrun.lua_hooks.fake import FakeHost
from scrun.lua_hooks.hooks import Hooks
from scrun.lua_hooks.script import read_script, shown, version_of

# A config.json with the parts of docker's and podman's that scripts read.
CONFIG = """{"ociVersion": "1.2.0",
 "process": {"terminal": false, "user": {"uid": 0, "gid": 0, "additionalGids": [0]}, "args": ["sh"], "cwd": "/",
  "env": ["PATH=/usr/bin:/bin", "HOSTNAME=check"], "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]},
 "root": {"path": "rootfs", "readonly": false}, "hostname": "check",
 "mounts": [
  {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
  {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "gid=5"]},
  {"destination": "/etc/hosts", "type": "bind", "source": "/etc/hosts", "options": ["rbind", "rprivate"]}],
 "hooks": {"prestart": [{"path": "/bin/true"}]}, "annotations": {},
 "linux": {"resources": {}, "cgroupsPath": "/check", "namespaces": [{"type": "mount"}, {"type": "network"}],
  "maskedPaths": [], "readonlyPaths": []}}
"""
JOB_ENV = {
    "SLURM_JOB_ID": "1",
    "SLURM_CLUSTER_NAME": "check",
    "SLURM_JOB_NODELIST": "node1",
    "SLURM_JOB_NUM_NODES": "1",
}

OFFERED = ("stage_in", "stage_out")


def problems_of(
    path: str, lua: str | None = None, extras: Mapping[str, Callable[..., object]] | None = None
) -> list[str]:
    """Load the script, and call both hooks for a made-up job in a temporary bundle; return one line for each problem.

    Code that the hooks don't reach is checked only for names that the tables ``slurm`` and ``scrun`` don't have.

    Args:
        path: the script.
        lua: the version of Lua; None for the script's own choice.
        extras: replace the functions of the ``scrun`` table; None for functions that do nothing.
    """
    host = FakeHost(dict.fromkeys(OFFERED, lambda *_: None) if extras is None else extras)
    try:
        source = read_script(path)
        hooks = Hooks(path, host, version_of(source, lua))
        hooks.run_no_commands()
        hooks.begin(source)
    except HookError as error:
        return [str(error)]
    problems = _unknown_names(path, source.decode("utf-8", "replace"), hooks)
    with tempfile.TemporaryDirectory(prefix="scrun-lua-check-") as bundle:
        problems += _call_hooks(hooks, bundle)
    return problems + [
        f"{shown(path)} logged the error: {message}" for level, message in host.logged if level == "error"
    ]


def _call_hooks(hooks: Hooks, bundle: str) -> list[str]:
    config, rootfs, spool = (os.path.join(bundle, name) for name in ("config.json", "rootfs", "spool"))
    os.mkdir(rootfs)
    os.mkdir(spool)
    with open(config, "w", encoding="utf-8") as file:
        file.write(CONFIG)
    problems, now, root_path = [], bundle, None
    ids = 1, os.getuid(), os.getgid()
    try:
        now, root_path = hooks.stage_in(StageInCall("check", bundle, spool, config, *ids, JOB_ENV))
    except HookError as error:
        problems.append(str(error))
    try:
        hooks.stage_out(StageOutCall("check", now, bundle, root_path or rootfs, rootfs, spool, config, *ids))
    except HookError as error:
        problems.append(str(error))
    return problems


# Comments and strings are matched first, so that a "slurm.conf" in them isn't a name.
_TOKEN = re.compile(
    r"--\[(=*)\[.*?\]\1\]|--[^\n]*|\[(=*)\[.*?\]\2\]|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"
    r"|(?<![\w.:])(?P<table>slurm|scrun)\s*\.\s*(?P<name>[A-Za-z_]\w*+)(?!\s*=[^=])",
    re.DOTALL,
)


def _unknown_names(path: str, source: str, hooks: Hooks) -> list[str]:
    problems = []
    for token in _TOKEN.finditer(source):
        table, name = token["table"], token["name"]
        if table and name not in hooks.names_in(table):
            line = source.count("\n", 0, token.start()) + 1
            problems.append(f"{shown(path)}:{line}: there is no {table}.{name}")
    return problems
