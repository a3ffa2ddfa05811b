"""Whether a container can have an agent on its node, and the config of one that has.

The agent (scrun-node) carries the container's input and output, signals and exec. Three hooks of the node's runtime
start and end it, and the container's first program is an init that takes its standard input, output and error from
the agent. The init lies in a small tmpfs of its own. That is mounted below another tmpfs, so that no mount point stays
in an image. A plain bundle may have no other: then the mount point is in the root filesystem's /dev, where the runtime
makes some for devices anyway, and it is removed at the end (lifecycle.container.left_by_slurm).
"""

from __future__ import annotations

from scrun.mount import is_bind, is_within
from scrun.node_hooks import with_hooks

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any, NamedTuple

    from scrun.oci import Config, Hook, Mount, Process
else:
    from scrun.named_tuple import NamedTuple

DIRECTORY = ".scrun"
INIT = "init"
PROGRAM, SETTINGS = "scrun-node", "connection"  # files of the bundle
# The hooks, in the order in which the runtime runs them, each with the program's own verb.
HOOKS = (("createRuntime", "agent"), ("createContainer", "inside"), ("poststop", "flush"))
# Where a tmpfs of the container's own may be, the likeliest first. /dev is one in every config of an engine.
_PARENTS = ("/dev", "/run", "/tmp", "/dev/shm", "/var/run", "/var/tmp")  # noqa: S108 (paths in the container)
_OPTIONS = ["nosuid", "nodev", "mode=755", "size=1m"]
# What the init calls before it becomes the container's program, under the container's seccomp profile.
_CALLS = ("socket", "connect", "recvmsg", "write", "fcntl", "dup3", "lseek", "mmap", "execve")
_SOCKET = (1, 0o2000001, 0)  # the init's socket(2): AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC
_LONGEST_NAME = 100  # bytes; the path of the init has 255 (settings.c)
_ALLOWING = {"SCMP_ACT_ALLOW", "SCMP_ACT_LOG"}


class Place(NamedTuple):
    """Where the init lies in the container, or the reason in words why there can be none.

    srun calls a step as its first word is called, so the init has the name of the container's program: squeue and sacct
    show that. (srun's --job-name would change SLURM_JOB_NAME too.)
    """

    directory: str
    why_not: str = ""
    name: str = INIT

    @property
    def init(self) -> str:
        """The path of the init in the container."""
        return f"{self.directory}/{self.name}"


def place(
    config: Config,
    settings: Mapping[str, Any],
    runtime: Mapping[str, Any],
    machines: Collection[str] = (),
    *,
    in_dev: str = "",
    program: str = "",
) -> Place:
    """Find where the init of a container can be.

    Args:
        config: the config as the node gets it.
        settings: oci.conf's.
        runtime: how the node's runtime is called (slurm.node_runtime).
        machines: what the nodes are (uname -m), as far as it is known and this scrun has no program for them.
        in_dev: a new name for a directory in the root filesystem's own /dev, empty if the job's user can make none.
            It must be this container's alone: removing it ends a mount there in any namespace (mount_namespaces(7)).
        program: the container's program, whose name the init gets.
    """
    why = (
        _forbidden(settings, runtime)
        or (f"this scrun has no {PROGRAM} for {' and '.join(sorted(machines))}" if machines else "")
        or _without_terminal(config)
        or _filtered(config)
    )
    if why:
        return Place("", why)
    for parent in _PARENTS:
        if _has_own_tmpfs(config, parent):
            return Place(_free(config, f"{parent}/{DIRECTORY}"), name=_name(program))
    dev = _mount_at(config, "/dev")
    if dev is None and in_dev and not _mount_at(config, "") and not config["root"].get("readonly"):
        return Place(f"/dev/{in_dev}", name=_name(program))
    what = "a bind mount" if dev and is_bind(dev) else "no tmpfs"
    return Place("", f"the container's /dev is {what}, and it has no other tmpfs where scrun could put its init")


def adapted(config: Config, bundle: str, where: Place) -> Config:
    """Return the config of a container with an agent.

    Args:
        config: the config as the node gets it otherwise.
        bundle: the bundle's path on the node.
        where: where the init lies.
    """
    process: Process = {**config["process"], "args": [where.init, *config["process"]["args"]], "terminal": False}
    process.pop("consoleSize", None)  # the agent makes the terminal
    process.pop("rlimits", None)  # the agent sets them (adapt_process.agent_limits)
    mount: Mount = {"destination": where.directory, "type": "tmpfs", "source": "scrun", "options": [*_OPTIONS]}
    made: Config = {**config, "process": process, "mounts": [*config.get("mounts", ()), mount]}
    for when, verb in HOOKS:
        hook: Hook = {"path": f"{bundle}/{PROGRAM}", "args": [PROGRAM, verb, f"{bundle}/{SETTINGS}"]}
        made = with_hooks(made, when, [hook])
    return made


def _free(config: Config, path: str) -> str:
    """That path, or a longer one, at or below which the container has no mount of its own, which would be hidden."""
    while any(is_within(mount["destination"].rstrip("/"), path) for mount in config.get("mounts", ())):
        path += "~"
    return path


def _name(program: str) -> str:
    name = program.rpartition("/")[2]
    fits = name.isprintable() and len(name.encode(errors="surrogateescape")) <= _LONGEST_NAME
    return name if name and fits and not name.startswith((".", ":")) else INIT


def _forbidden(settings: Mapping[str, Any], runtime: Mapping[str, Any]) -> str:
    needed = [when for when, _verb in HOOKS]
    if disabled := [name for name in settings.get("DisableHooks", ()) if name in needed]:
        return f"oci.conf disables hooks that scrun needs (DisableHooks={','.join(disabled)})"
    if runtime["kind"] == "other":
        return "the node's runtime is not known to be crun or runc, so not to run hooks"
    if "command" not in runtime:
        return str(runtime["why"])
    return ""


def _without_terminal(config: Config) -> str:
    if config["process"].get("terminal"):
        devpts = _mount_at(config, "/dev/pts")
        if devpts is None or devpts.get("type") != "devpts":
            return "the container has no /dev/pts of its own, so no terminal of its own can be made"
    return ""


def _mount_at(config: Config, path: str) -> Mount | None:
    """The last mount at that path, which hides the others."""
    for mount in reversed(config.get("mounts", ())):
        if mount["destination"].rstrip("/") == path:
            return mount
    return None


def _has_own_tmpfs(config: Config, path: str) -> bool:
    """Whether a directory can be made at that path, in a tmpfs that the runtime makes for this container."""
    mounts = config.get("mounts", ())
    mount = _mount_at(config, path)
    if mount is None or is_bind(mount) or mount.get("type") != "tmpfs":
        return False
    # Both runtimes make a /dev read-only only when everything is mounted, because they make devices in it.
    if path != "/dev" and "ro" in (mount.get("options") or ()):
        return False
    # A later mount above it would hide it.
    last = max(index for index, other in enumerate(mounts) if other["destination"].rstrip("/") == path)
    return not any(path.startswith(other["destination"].rstrip("/") + "/") for other in mounts[last + 1 :])


def _filtered(config: Config) -> str:
    """Which calls of the init's the container's seccomp profile forbids."""
    profile = (config.get("linux") or {}).get("seccomp")
    if not profile:
        return ""
    if forbidden := [name for name in _CALLS if not _is_allowed(profile, name)]:
        return f"the container's seccomp profile forbids {', '.join(forbidden)}, which its init needs"
    return ""


def _is_allowed(profile: dict[str, Any], name: str) -> bool:
    """Whether the profile lets the init make a call; False if that can't be told."""
    default = profile.get("defaultAction") in _ALLOWING
    actions = []
    for rule in profile.get("syscalls") or ():
        if name not in (rule.get("names") or ()):
            continue
        meant = [_is_met(condition, name) for condition in rule.get("args") or ()]
        if False in meant:
            continue
        allows = rule["action"] in _ALLOWING
        if None in meant and allows:
            continue  # perhaps it doesn't apply
        actions.append(allows)
    return all(actions) if actions else default


def _is_met(condition: dict[str, Any], name: str) -> bool | None:
    """Whether the init's call meets a condition about one of its arguments; None: that isn't known."""
    index = condition.get("index", 0)
    if name != "socket" or index >= len(_SOCKET):
        return None
    given, value, other = _SOCKET[index], condition.get("value", 0), condition.get("valueTwo", 0)
    results = {
        "SCMP_CMP_EQ": given == value,
        "SCMP_CMP_NE": given != value,
        "SCMP_CMP_LT": given < value,
        "SCMP_CMP_LE": given <= value,
        "SCMP_CMP_GT": given > value,
        "SCMP_CMP_GE": given >= value,
        "SCMP_CMP_MASKED_EQ": given & value == other,
    }
    return results.get(condition.get("op", ""))
