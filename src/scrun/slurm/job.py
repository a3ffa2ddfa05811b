"""The job that a container asks for, or the one that it runs in: scrun(1)'s variables, from wherever they were given.

In an environment of the caller's or of the container's, among the container's annotations, or in docker's own words
(:mod:`scrun.slurm.resources`). What each means, and who may set it, is in :mod:`scrun.slurm.variables`.
"""

from __future__ import annotations

from scrun.errors import UsageError
from scrun.slurm import bits, job_environment, layout, parsers, resources, shared_job
from scrun.slurm.variables import (
    ANNOTATION,
    BY_NAME,
    CALLER,
    GIVEN_TO_HOOKS,
    PREFIX,
    TABLE,
    Variable,
    nearest,
    of_annotation,
    who_may_set,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from scrun.slurm.shared_job import SharedJob
    from scrun.slurm.variables import Parse

NAME = "scrun"  # of a job that SCRUN_JOB_NAME doesn't name; the C scrun's, which sites' filters know
PATIENCE = "CREATE_TIMEOUT"  # seconds that create waits for the job's nodes; 0: for ever
RESOURCES, SHARE = "RESOURCES", "SHARE_JOB"
NOTICES = "NOTICES"  # whether the container's standard error is told what becomes of its job

# What srun has no use for in a job that is there already.
_OF_A_NEW_JOB = (
    *("ACCOUNT", "BURST_BUFFER", "CLUSTER_CONSTRAINT", "CLUSTERS", "COMMENT", "CORE_SPEC", "DELAY_BOOT", "DEPENDENCY"),
    *("JOB_NAME", "PARTITION", "POWER", "QOS", "REQ_SWITCH", "RESERVATION", "SPREAD_JOB", "THREAD_SPEC"),
    *("USE_MIN_NODES", "WAIT4SWITCH", "WCKEY"),
)
# Each asks in its own way for something that docker's words may ask for too; those then don't count.
_CPUS = ("CPUS_PER_TASK", "CPUS_PER_GPU", "TRES_PER_TASK")
_MEMORY = ("MEM_PER_NODE", "MEM_PER_CPU", "MEM_PER_GPU")
_GPUS = ("GPUS", "GPUS_PER_NODE", "GPUS_PER_SOCKET", "GPUS_PER_TASK", "GRES", "TRES_PER_TASK")
_INSTEAD: dict[str, tuple[str, ...]] = {"CPUS_PER_TASK": _CPUS, "MEM_PER_NODE": _MEMORY, "MEM_PER_CPU": _MEMORY}
_INSTEAD |= {"GPUS_PER_NODE": _GPUS, "GRES": _GPUS}
_INSTEAD["EXCLUSIVE"] = ("EXCLUSIVE", *_GPUS)  # it is for "all GPUs"
# Two ways to say one thing: Slurm takes one of them.
_ALTERNATIVES = (
    _MEMORY,
    *(("CPUS_PER_TASK", "CPUS_PER_GPU"), ("CORE_SPEC", "THREAD_SPEC"), ("GPU_BIND", "TRES_BIND")),
    ("NTASKS_PER_GPU", "NTASKS_PER_TRES"),
)


class Given:
    """A value, and how a person called it."""

    def __init__(self, value: str, called: str) -> None:
        self.value, self.called = value, called


class Request:
    """What is asked for.

    ``job`` is what the worker that gets the job is told (:mod:`scrun.lifecycle.worker.allocate`). ``step`` are
    variables for srun; ``patience`` are the seconds create shall wait, None when nobody says; ``notes`` are remarks
    for a person. ``asked`` is what the job was asked for with (:mod:`scrun.slurm.shared_job`), ``shares`` whether
    it is another container's, and ``notices`` whether the container's standard error is told what becomes of it.
    """

    def __init__(
        self,
        job: dict[str, Any],
        step: dict[str, str],
        patience: float | None,
        notes: list[str],
        *,
        asked: Mapping[str, str],
        shares: bool,
        notices: bool,
    ) -> None:
        self.job, self.step, self.patience, self.notes = job, step, patience, notes
        self.asked, self.shares, self.notices = asked, shares, notices


def request(
    caller: Mapping[str, str],
    container: Mapping[str, str],
    annotations: Mapping[str, str] | None = None,
    limits: Mapping[str, int] | None = None,
    directory: str = "/",
    shared: SharedJob | None = None,
    told: Mapping[str, str] | None = None,
) -> Request:
    """Read all that may ask for something; of two the later one wins: limits, caller, container, annotations.

    ``limits`` are docker's own words: what :func:`scrun.slurm.resources.variables` takes. ``directory`` is where scrun
    was called. ``told`` are fields of the job that tell Slurm's accounting what runs; SCRUN_COMMENT wins over its
    ``comment``. ``shared`` is the job of a container that shares a namespace with this one, which is used unless
    anything says otherwise.

    Raises:
        UsageError: a value isn't one, which is named with what is accepted; or two exclude each other; or the container
            sets what only the caller may.
    """
    notes: list[str] = []
    callers = _over({}, _of_environment(caller, notes))
    inside = _permitted(_of_environment(container, notes), caller, "set in the container's environment")
    own = _over(_over({}, inside), _permitted(_of_annotations(annotations or {}, notes), caller, "the container's"))
    given = _over(callers, own)
    existing = container.get("SLURM_JOB_ID") or caller.get("SLURM_JOB_ID")
    if existing or not (shared and _wants_to_share(shared, own, given, notes)):
        shared = None
    words: dict[str, Given] = {}
    if _parsed(given.get(RESOURCES, Given("use", "")), _use) and limits and shared:
        notes.append(f"the container's limits ({', '.join(limits)}) have no effect: it runs in {shared}")
    elif _parsed(given.get(RESOURCES, Given("use", "")), _use) and limits:
        several = any(given[name].value != "1" for name in ("NTASKS", "NTASKS_PER_NODE") if name in given)
        asked = resources.variables(**limits, several=several, new_job=not existing)
        for name, value in asked.items():
            if not any(other in given for other in _INSTEAD[name]):
                words[name] = Given(value, f"the container's limits: {name}")
        given = words | given
    patience = _parsed(given[PATIENCE], parsers.number) if PATIENCE in given else None
    parsed = {row.name: _parsed(given[row.name], row.parse) for row in TABLE if row.name in given}
    asked = {name: given[name].value for name in shared_job.of_job(given)}
    if shared:
        asked = dict(shared.asked)
        notes.append(f"the container runs in {shared}")
        job: dict[str, Any] = {"existing": shared.job, "environment": dict(shared.environment), "first_node": True}
        kept = _of_a_guest(given, own)
        step = _step_there(kept, {name: parsed[name] for name in kept if name in parsed}, notes) | shared_job.ALONE
    elif existing:
        job = {"existing": _parsed(Given(existing, "SLURM_JOB_ID"), parsers.number)}
        job["environment"] = job_environment.of_allocation(caller, existing)
        step = _step_there(given, parsed, notes)
    else:
        job = {"request": layout.described({"name": NAME, "working_directory": directory}, parsed)}
        if told:
            theirs = {"comment"} if "COMMENT" in given else set()
            job["request"]["descriptor"] |= {name: told[name] for name in told.keys() - theirs}
        step = {row.srun: _for_srun(row, given, parsed) for row in TABLE if row.srun and _counts(row, parsed)}
    job |= {"directory": directory, "all_gpus": "EXCLUSIVE" in words}
    if "POWER" in given:
        notes.append(f"{given['POWER'].called} has no effect: Slurm manages no power by job any more")
    notices = bool(_parsed(given.get(NOTICES, Given("yes", "")), parsers.flag))
    return Request(job, step, patience, notes, asked=asked, shares=bool(shared), notices=notices)


def _wants_to_share(shared: SharedJob, own: Mapping[str, Given], given: Mapping[str, Given], notes: list[str]) -> bool:
    """Whether a container is to be in that job: unless it asks for something else itself, or not to."""
    if not _parsed(given.get(SHARE, Given("yes", "")), parsers.flag):
        return False
    for name in shared_job.of_job(own):
        if own[name].value != shared.asked.get(name) and _parsed(own[name], BY_NAME[name].parse) is not False:
            notes.append(f"{own[name].called} asks for a job of its own: the container isn't in {shared}")
            return False
    return True


def _of_a_guest(given: Mapping[str, Given], own: Mapping[str, Given]) -> dict[str, Given]:
    """What counts for a step of another container's job; what the caller said of jobs was said of that one."""
    left = {name for name in (*_OF_A_NEW_JOB, *shared_job.LABELS) if name not in own}.union(shared_job.of_job(given))
    return {name: value for name, value in given.items() if name not in left}


def _of_environment(environment: Mapping[str, str], notes: list[str]) -> dict[str, Given]:
    found = {}
    for called, value in environment.items():
        if not called.startswith(PREFIX):
            continue
        name = called[len(PREFIX) :]
        if who_may_set(name):
            found[name] = Given(value, called)
        elif name not in GIVEN_TO_HOOKS and (like := nearest(called)):
            notes.append(f"{called} is no variable of scrun's, and has no effect: is it {like}?")
    return found


def _of_annotations(annotations: Mapping[str, str], notes: list[str]) -> dict[str, Given]:
    found = {}
    for key, value in annotations.items():
        if name := of_annotation(key):
            found[name] = Given(value, f"annotation {key}")
        elif key.startswith(ANNOTATION):
            like = nearest(PREFIX + key[len(ANNOTATION) :].upper().replace("-", "_"))
            hint = f": is it {ANNOTATION}{like[len(PREFIX) :].lower().replace('_', '-')}?" if like else ""
            notes.append(f"annotation {key} is nothing that Slurm can be asked for, and has no effect{hint}")
    return found


def _permitted(found: dict[str, Given], caller: Mapping[str, str], where: str) -> dict[str, Given]:
    """What the container may set of it.

    An empty value takes back what an image has set. One that is the caller's own was handed on (podman's --env-host).

    Raises:
        UsageError: only the caller may set it, or the value has characters that would reach logs and command lines.
    """
    kept = {}
    for name, given in found.items():
        if any(character < " " or character == "\x7f" for character in given.value):
            raise UsageError(f"{given.called}, {where}, has control characters in its value: leave them out")
        if who_may_set(name) != CALLER:
            kept[name] = given
        elif given.value not in ("", caller.get(f"{PREFIX}{name}")):
            raise UsageError(
                f"{given.called} is {where}: only the environment of whoever calls scrun or podman, or dockerd's own, "
                f"may set {PREFIX}{name}: take it out, or set it to nothing"
            )
    return kept


def _over(lower: dict[str, Given], upper: dict[str, Given]) -> dict[str, Given]:
    """Both, where ``upper`` also wins by saying the same thing in another way.

    Raises:
        UsageError: ``upper`` says one thing in two ways.
    """
    merged = lower | upper
    for group in _ALTERNATIVES:
        said = [name for name in group if name in upper]
        if len(said) > 1:
            one, other = (upper[name].called for name in said[:2])
            raise UsageError(f"{one} and {other} exclude each other: give one of them")
        if said:
            merged = {name: given for name, given in merged.items() if name not in group or name == said[0]}
    return merged


def _step_there(given: Mapping[str, Given], parsed: Mapping[str, Any], notes: list[str]) -> dict[str, str]:
    """What srun is told for a step of a job that is there: all that it has a use for.

    Steps share the job, or the second container would wait for the end of the first: by itself a step takes all of its
    job's CPUs and memory.
    """
    step: dict[str, str] = {}
    for row in TABLE:
        if row.name in _OF_A_NEW_JOB:
            if row.name in given and row.name != "POWER":
                notes.append(f"{given[row.name].called} has no effect in a job that is there already")
        elif _counts(row, parsed):
            step[row.srun or f"SLURM_{row.name}"] = _for_srun(row, given, parsed)
    if not any(name in given for name in ("EXACT", "EXCLUSIVE", "OVERLAP")):
        step["SLURM_OVERLAP"] = "1"
    return step


def _counts(row: Variable, parsed: Mapping[str, Any]) -> bool:
    """Whether it was given, and isn't a switch that is off."""
    return row.name in parsed and not (row.parse is parsers.flag and not parsed[row.name])


def _for_srun(row: Variable, given: Mapping[str, Given], parsed: Mapping[str, Any]) -> str:
    if row.parse is parsers.flag:
        return "1"
    if row.parse is parsers.gpu_bind:
        return str(parsed[row.name])
    if row.parse is bits.profile:
        return ",".join(word.capitalize() for word in given[row.name].value.split(","))  # as salloc writes it
    if row.parse is parsers.mebibytes or row.parse is parsers.mebibytes_per_cpu:
        return f"{parsed[row.name] & ~(1 << 63)}M"
    return given[row.name].value


def _use(value: str) -> bool:
    if value.lower() not in ("use", "ignore"):
        raise ValueError("use or ignore")
    return value.lower() != "ignore"


def _parsed(given: Given, parse: Parse) -> Any:
    try:
        return parse(given.value)
    except ValueError as error:
        raise UsageError(f"{given.called}={given.value!r} is not {error}") from None
