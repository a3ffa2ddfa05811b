"""Adapt the config that the engine wrote for the login node to the compute node's OCI runtime.

On the node, slurmstepd calls crun or runc as the job's user: without privilege, and without the engine's idmap,
namespaces, hooks and cgroups. Settings that can't work there are removed or replaced, each with one line that says so.
The limits that a user asks of Slurm (memory, CPUs) are read from the config by :mod:`scrun.bundle.container_limits`.

Every rule is a function that changes the config and yields one line for each change. The rules run in the order of
:data:`_EVERY_JOB` and :data:`_UNPRIVILEGED`. Where their comments say that something fails, it was tried with crun 1.28
and runc 1.3.6 as an unprivileged user on Linux 6.18.
"""

from __future__ import annotations

from scrun import fastjson
from scrun.bundle import adapt_gpus, adapt_mounts, adapt_namespaces, adapt_privilege, adapt_process

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Literal

    from scrun.oci import Config

    Rule = Callable[[Config], Iterator[str]]


def adapt(
    config: Config,
    *,
    uid: int,
    gid: int,
    note: Callable[[str], None],
    keep_user: bool = True,
    gpus: Sequence[int] = (),
    nodes_network: bool | None = None,
    joined: tuple[str, Sequence[int]] | None = None,
    shared_memory: bool = False,
    engine: Config | None = None,
) -> Config:
    """Return a copy of a checked config, adapted to a job. Adapting it once more changes nothing.

    Args:
        config: the checked config, which stays as it is.
        uid: the job's user; 0 for root's job.
        gid: the job's group.
        note: is called with one line for each change.
        keep_user: whether the process keeps its user. If not, an unprivileged job's container runs as its root, because
            runc, unlike crun, can't make a user namespace without a user 0.
        gpus: the numbers of the job's GPUs, which replace the GPUs that the config names.
        nodes_network: whether a container that asks for a network namespace uses its node's network (True) or none
            (False). None: a new namespace stays new, and one to be joined is replaced by the node's network.
        joined: of a container that has another's network on the node: the path there of links to the other's
            namespaces, and the uid and gid that the job's user has in them.
        shared_memory: whether the container has its node's /dev/shm, which the tasks of an MPI program need.
        engine: the config as the engine wrote it, if ``config`` has been adapted before.

    Raises:
        BundleError: no node can run such a container.
    """
    adapted: Config = fastjson.copied(config)
    for line in adapt_gpus.renumber(adapted, gpus):
        note(line)
    if nodes_network is not None:
        for line in adapt_namespaces.choose_network(adapted, nodes_network=nodes_network):
            note(line)
    if shared_memory:
        for line in adapt_mounts.share_memory(adapted):
            note(line)
    for rule in _EVERY_JOB:
        for line in rule(adapted):
            note(line)
    if uid == 0:
        adapt_namespaces.check_root(adapted)
        for line in _root(adapted, engine or config):
            note(line)
        for line in adapt_namespaces.join(adapted, joined, with_user=False):
            note(line)
        return adapted
    for line in adapt_namespaces.map_user(adapted, uid=uid, gid=gid, keep_user=keep_user):
        note(line)
    for line in adapt_namespaces.join(adapted, joined, with_user=True):
        note(line)
    for rule in _UNPRIVILEGED:
        for line in rule(adapted):
            note(line)
    return adapted


def _root(config: Config, engine: Config) -> Iterator[str]:
    nodes_network = not adapt_namespaces.has_namespace(config, "network")
    yield from adapt_privilege.capabilities(config["process"], engine, nodes_network=nodes_network)
    yield from adapt_privilege.bound_devices(config, engine)


def leave_engine(config: Config, original: Config, *, uid: int) -> list[str]:
    """Remove the engine's own settings from the config of a bundle that the site's script made.

    What the script itself wrote stays. But a namespace of the login node can't be joined from a node, and its hooks and
    labels can't be used there; the examples in scrun(1) leave all three in the config.

    Args:
        config: the script's config, which is changed.
        original: the config as the engine wrote it.
        uid: the job's user.

    Returns:
        One line for each change.
    """
    notes: list[str] = []
    engines = _namespace_paths(original)
    kept = []
    for namespace in config.get("linux", {}).get("namespaces", []):
        kind, path = namespace["type"], namespace.get("path", "")
        if (kind, path) in engines:
            del namespace["path"]
            notes.append(f"{kind} namespace {path} isn't joined: it is on the machine of the engine")
            if kind in ("network", "cgroup", "time"):  # the job's own namespaces are used; see adapt_namespaces
                continue
        kept.append(namespace)
    if notes:
        config["linux"]["namespaces"] = kept
        # Settings that need a namespace of the container's own.
        for rule in (*adapt_namespaces.WITHOUT_NAMESPACE, *adapt_mounts.WITHOUT_NAMESPACE):
            notes += rule(config)
    if config.get("linux", {}).get("gidMappings") and adapt_namespaces.same_ping_groups(config, original):
        notes += adapt_namespaces.ping_groups(config)
    if config.get("hooks") and config["hooks"].items() <= original.get("hooks", {}).items():
        notes += _hooks(config)
    notes += _labels(config, original)
    if uid == 0 and "process" in config:
        nodes_network = not adapt_namespaces.has_namespace(config, "network")
        notes += adapt_privilege.capabilities(config["process"], original, nodes_network=nodes_network)
    return notes


def _namespace_paths(config: Config) -> set[tuple[str, str]]:
    namespaces = config.get("linux", {}).get("namespaces", [])
    return {(entry["type"], entry["path"]) for entry in namespaces if entry.get("path")}


def _hooks(config: Config) -> Iterator[str]:
    # The engine's hooks are for its own machine: network set-up, GPU injection, its own process by /proc/PID/exe.
    for kind, hooks in config.pop("hooks", {}).items():
        if hooks:
            paths = ", ".join(hook["path"] for hook in hooks)
            yield f"{kind} hooks ({paths}) left out: they are for the machine of the engine"


def _labels(config: Config, engine: Config | None = None) -> Iterator[str]:
    """Remove AppArmor profiles and SELinux labels; with ``engine`` only those that are in the engine's config too.

    They are loaded on the engine's machine, and runc fails where one isn't loaded.
    """
    process, linux = config.get("process", {}), config.get("linux", {})
    engines = engine or config
    if (label := process.get("apparmorProfile")) and label == engines.get("process", {}).get("apparmorProfile"):
        del process["apparmorProfile"]
        yield f"process.apparmorProfile {label} left out: {_ELSEWHERE}"
    if (label := process.get("selinuxLabel")) and label == engines.get("process", {}).get("selinuxLabel"):
        del process["selinuxLabel"]
        yield f"process.selinuxLabel {label} left out: {_ELSEWHERE}"
    if (label := linux.get("mountLabel")) and label == engines.get("linux", {}).get("mountLabel"):
        del linux["mountLabel"]
        yield f"linux.mountLabel {label} left out: {_ELSEWHERE}"


def _cgroups(config: Config) -> Iterator[str]:
    # The job's own cgroup limits the container. Another cgroup, or a controller that isn't delegated, fails.
    linux = config.get("linux", {})
    if path := linux.pop("cgroupsPath", ""):
        yield f"linux.cgroupsPath {path} left out: the job has its own cgroup"
    if resources := linux.pop("resources", {}):
        yield f"linux.resources ({', '.join(resources)}) left out: the job's limits count"
    key: Literal["intelRdt", "memoryPolicy"]
    for key in ("intelRdt", "memoryPolicy"):
        # These describe the login node's cache and memory nodes; crun fails without resctrl.
        if linux.pop(key, {}):
            yield f"linux.{key} left out: it is for the hardware of the machine of the engine"


def _seccomp(config: Config) -> Iterator[str]:
    # The listener is on the login node, so both runtimes fail to connect to it. Without a listener the kernel answers a
    # notify rule with ENOSYS (seccomp(2)), so the rule itself becomes ENOSYS.
    linux = config.get("linux", {})
    seccomp = linux.get("seccomp", {})
    if path := seccomp.pop("listenerPath", ""):
        yield f"linux.seccomp.listenerPath {path} left out: nobody listens there on the node"
    seccomp.pop("listenerMetadata", None)
    notify = "SCMP_ACT_NOTIFY"
    for rule in seccomp.get("syscalls", []):
        if rule["action"] == notify:
            rule |= {"action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS}
            yield f"seccomp rule for {', '.join(rule['names'])} answers ENOSYS: nobody listens for it on the node"
    if seccomp.get("defaultAction") == notify:
        seccomp |= {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": _ENOSYS}
        yield "seccomp answers ENOSYS by default: nobody listens for it on the node"
    flag = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
    if flag in seccomp.get("flags", []):  # the flag is about the listener, and runc doesn't know the flag
        seccomp["flags"].remove(flag)
        yield f"seccomp flag {flag} left out: there is no listener"


_ELSEWHERE = "it is known on the machine of the engine only"
_ENOSYS = 38

_EVERY_JOB: tuple[Rule, ...] = (
    _hooks,
    _labels,
    *adapt_mounts.DEVICES,  # before linux.resources is removed, because that tells whether the container is privileged
    _cgroups,
    _seccomp,
    *adapt_process.EVERY_JOB,
    *adapt_namespaces.EVERY_JOB,
    *adapt_mounts.EVERY_JOB,
)

_UNPRIVILEGED: tuple[Rule, ...] = (
    *adapt_process.UNPRIVILEGED,
    *adapt_namespaces.UNPRIVILEGED,
    *adapt_mounts.UNPRIVILEGED,
)
