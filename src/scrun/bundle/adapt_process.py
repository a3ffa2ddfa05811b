"""Rules of :mod:`scrun.bundle.adapt` about the process: remove what an unprivileged user may not do on the node."""

from __future__ import annotations

from scrun.errors import BundleError

TYPE_CHECKING = False  # importing typing takes 6 ms beside json; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scrun.oci import Config


_COMMON_POLICIES = ("SCHED_OTHER", "SCHED_BATCH", "SCHED_IDLE")
"""The scheduling policies that need no privilege (sched(7))."""


def _nameless_variables(config: Config) -> Iterator[str]:
    # slurmstepd fails to launch a task with a nameless variable, and turns NAME without "=" into NAME=(null). getenv(3)
    # sees neither of the two.
    process = config["process"]
    kept = [entry for entry in process.get("env", []) if entry.find("=") > 0]
    if removed := len(process.get("env", [])) - len(kept):
        process["env"] = kept
        yield f"process.env: {removed} left out that have no name or no '='"


def _additional_groups(config: Config) -> Iterator[str]:
    # The kernel denies setgroups where an unprivileged user maps a group (user_namespaces(7)), and runc then fails.
    if groups := config["process"].get("user", {}).pop("additionalGids", []):
        yield f"additional groups {', '.join(map(str, groups))} left out: only one group is mapped"


def _limits(config: Config) -> Iterator[str]:
    # podman always writes limits: the login node's, or podman's defaults. A limit above the node's hard limit is EPERM,
    # and Slurm sets the job's limits (PropagateResourceLimits in slurm.conf). A lower limit is the user's choice.
    limits = config["process"].pop("rlimits", [])
    if kept := [limit for limit in limits if limit.get("hard", _INFINITY) < _highest(limit["type"])]:
        config["process"]["rlimits"] = kept
    if removed := [limit["type"] for limit in limits if limit not in kept]:
        yield f"{', '.join(removed)} left out: an unprivileged job can't raise its limits, and has Slurm's"


def agent_limits(config: Config, engine: Config, *, uid: int) -> list[tuple[int, int, int | None]]:
    """The limits of the container's program, which its agent sets when the program starts.

    The runtime would set them before it runs the hooks, which may need more. And it would get no number above 2⁶³ - 1,
    because slurmstepd writes config.json again with such numbers only.

    Args:
        config: the config as the node's runtime would get it.
        engine: the config as the engine wrote it. Where the hard limit isn't in ``config``, because an unprivileged job
            couldn't set it, the soft limit still counts.
        uid: the job's user.

    Returns:
        The number of each (``resource.RLIMIT_NOFILE``), its soft limit, and its hard limit; None: the node's.
    """
    limits: dict[str, tuple[int, int | None]] = {}
    for limit in engine["process"].get("rlimits", []) if uid else []:
        kind, soft, hard = limit["type"], limit["soft"], limit["hard"]
        is_default = kind in _PODMANS and soft == hard
        if hard >= _highest(kind) and not is_default:
            limits[kind] = (soft, None)
    for limit in config["process"].get("rlimits", []):
        limits[limit["type"]] = (limit["soft"], limit["hard"])
    return [(LIMITS.index(kind), *both) for kind, both in limits.items()]


_INFINITY = (1 << 64) - 1  # RLIM_INFINITY, as engines write it
LIMITS = tuple(
    f"RLIMIT_{name}"
    for name in (
        *("CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS"),
        *("SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"),
    )
)
"""The names of all limits, each at its number (Linux's asm-generic/resource.h)."""
_PODMANS = {"RLIMIT_NOFILE": 1 << 20, "RLIMIT_NPROC": 1 << 22}
"""podman's default limits where the machine's own limits are higher."""


def _highest(kind: str) -> int:
    import resource

    own = resource.getrlimit(getattr(resource, kind))[1] if hasattr(resource, kind) else resource.RLIM_INFINITY
    return min(_INFINITY if own == resource.RLIM_INFINITY else own, _PODMANS.get(kind, _INFINITY))


def _oom_score(config: Config) -> Iterator[str]:
    # A score below slurmstepd's, which is usually 0, is EACCES; docker always writes 0.
    score = config["process"].get("oomScoreAdj")
    if score is not None and score <= 0:
        del config["process"]["oomScoreAdj"]
        yield f"oomScoreAdj {score} left out: an unprivileged job can't lower it"


def _priorities(config: Config) -> Iterator[str]:
    # Real-time policies, negative nice values and the real-time I/O class are EPERM.
    process = config["process"]
    scheduler = process.get("scheduler")
    if scheduler and (scheduler["policy"] not in _COMMON_POLICIES or scheduler.get("nice", 0) < 0):
        del process["scheduler"]
        yield f"scheduler {scheduler['policy']} left out: an unprivileged job may not set it"
    if process.get("ioPriority", {}).get("class") == "IOPRIO_CLASS_RT":
        del process["ioPriority"]
        yield "ioPriority IOPRIO_CLASS_RT left out: an unprivileged job may not set it"


def own_environment(config: Config, variables: Mapping[str, str], exclude: str) -> None:
    """Change the process's environment as slurmstepd would if it read this config (oci.conf(5), IgnoreFileConfigJson).

    The job's variables replace those of the same name. Entries ``NAME=VALUE`` that EnvExclude matches are removed.

    Raises:
        BundleError: ``exclude`` is not an expression that Python can use.
    """
    import re

    for name, members in (("alnum", "a-zA-Z0-9"), ("alpha", "a-zA-Z"), ("digit", "0-9"), ("space", r"\s")):
        exclude = exclude.replace(f"[:{name}:]", members)
    try:
        excluded = re.compile(exclude or "(?!)")
    except re.error as error:
        raise BundleError(f"oci.conf: EnvExclude={exclude!r} can't be used here: {error}") from error
    kept = [entry for entry in config["process"].get("env", []) if entry.partition("=")[0] not in variables]
    kept += [f"{name}={value}" for name, value in variables.items()]
    config["process"]["env"] = [entry for entry in kept if not excluded.search(entry)]


EVERY_JOB = (_nameless_variables,)
UNPRIVILEGED = (_additional_groups, _limits, _oom_score, _priorities)
