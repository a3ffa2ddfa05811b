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


def soft_limits(config: Config) -> list[tuple[int, int]]:
    """The soft limits that the container's agent sets, because the runtime would have to set the hard ones with them.

    Args:
        config: the config as the engine wrote it.

    Returns:
        The number of each (``resource.RLIMIT_NOFILE``), and its value.
    """
    import resource

    found = []
    for limit in config["process"].get("rlimits", []):
        kind, soft, hard = limit["type"], limit.get("soft", _INFINITY), limit.get("hard", _INFINITY)
        is_default = kind in _PODMANS and soft == hard
        if hard >= _highest(kind) and not is_default and hasattr(resource, kind):
            found.append((getattr(resource, kind), soft))
    return found


_INFINITY = (1 << 64) - 1  # RLIM_INFINITY, as engines write it
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
