"""Read all settings of a container's job: the job to ask for, or the existing job that the container joins.

The settings are scrun(1)'s variables. They come from the environments of the caller and of the container, from the
container's annotations, and from docker's limits (:mod:`scrun.slurm.limit_variables`). :mod:`scrun.slurm.variables` has
their meaning, and who may set them.
"""

from __future__ import annotations

from scrun.errors import UsageError
from scrun.slurm import bits, job_environment, layout, limit_variables, parsers, shared_job
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
    from typing import Any, TypedDict

    from scrun.slurm.layout import JobDescription
    from scrun.slurm.shared_job import SharedJob
    from scrun.slurm.variables import Parse

    class JobRequest(TypedDict, total=False):
        """How a worker gets the job: it asks for ``request``, or looks up ``existing``."""

        request: JobDescription
        existing: int  # the id of a job that is there
        environment: dict[str, str]  # what salloc has set in the existing job's shell
        first_node: bool  # whether only the first node of the existing job is used
        directory: str  # where scrun was called
        all_gpus: bool  # whether the step has all GPUs of the job, and the job all of a node
        gpu_devices: bool  # whether config.json names device nodes of GPUs


NAME = "scrun"  # the default name of a job; the C scrun's too, which sites' filters know
PATIENCE = "CREATE_TIMEOUT"  # seconds that create waits for the job's nodes; 0: for ever
RESOURCES, SHARE = "RESOURCES", "SHARE_JOB"
NODE_PATIENCE = "NODE_TIMEOUT"  # seconds that a container runs on without a connection to its login host
NETWORK = "NET"  # which network the container is on (parsers.network)
NOTICES = "NOTICES"  # whether messages about the job go to the container's standard error

# Variables that have no effect in an existing job.
_OF_A_NEW_JOB = (
    *("ACCOUNT", "BURST_BUFFER", "CLUSTER_CONSTRAINT", "CLUSTERS", "COMMENT", "CORE_SPEC", "DELAY_BOOT", "DEPENDENCY"),
    *("JOB_NAME", "PARTITION", "POWER", "QOS", "REQ_SWITCH", "RESERVATION", "SPREAD_JOB", "THREAD_SPEC"),
    *("USE_MIN_NODES", "WAIT4SWITCH", "WCKEY"),
)
# If one of these variables is set, docker's limit for the same resource doesn't count.
_CPUS = ("CPUS_PER_TASK", "CPUS_PER_GPU", "TRES_PER_TASK")
_MEMORY = ("MEM_PER_NODE", "MEM_PER_CPU", "MEM_PER_GPU")
_GPUS = ("GPUS", "GPUS_PER_NODE", "GPUS_PER_SOCKET", "GPUS_PER_TASK", "GRES", "TRES_PER_TASK")
_INSTEAD: dict[str, tuple[str, ...]] = {"CPUS_PER_TASK": _CPUS, "MEM_PER_NODE": _MEMORY, "MEM_PER_CPU": _MEMORY}
_INSTEAD |= {"GPUS_PER_NODE": _GPUS, "GRES": _GPUS}
_INSTEAD["EXCLUSIVE"] = ("EXCLUSIVE", *_GPUS)  # docker's "all GPUs" becomes EXCLUSIVE
# Variables that exclude each other, because Slurm takes only one of them.
_ALTERNATIVES = (
    _MEMORY,
    *(("CPUS_PER_TASK", "CPUS_PER_GPU"), ("CORE_SPEC", "THREAD_SPEC"), ("GPU_BIND", "TRES_BIND")),
    ("NTASKS_PER_GPU", "NTASKS_PER_TRES"),
)


class Setting:
    """A variable's value, and the name that the person used for the variable."""

    def __init__(self, value: str, called: str) -> None:
        self.value, self.called = value, called


class Request:
    """All settings of a container's job.

    Args:
        job: the message to the worker that gets the job (:mod:`scrun.lifecycle.worker.allocate`).
        step: variables for srun.
        patience: seconds that create waits; None for the default.
        node_patience: seconds that the container runs on without a connection to this host; None for the default.
        notes: remarks for a person.
        asked: the variables that the job is asked for with (:mod:`scrun.slurm.shared_job`).
        shares: whether the job is another container's.
        notices: whether messages about the job go to the container's standard error.
        network: what was said of its network (:func:`parsers.network`); empty where nobody says.
    """

    def __init__(
        self,
        job: JobRequest,
        step: dict[str, str],
        patience: float | None,
        notes: list[str],
        *,
        asked: Mapping[str, str],
        shares: bool,
        notices: bool,
        node_patience: float | None = None,
        network: str = "",
    ) -> None:
        self.job, self.step, self.patience, self.notes = job, step, patience, notes
        self.asked, self.shares, self.notices, self.node_patience = asked, shares, notices, node_patience
        self.network = network


def request(
    caller: Mapping[str, str],
    container: Mapping[str, str],
    annotations: Mapping[str, str] | None = None,
    limits: Mapping[str, int] | None = None,
    directory: str = "/",
    shared: SharedJob | None = None,
    told: Mapping[str, str] | None = None,
) -> Request:
    """Read all settings; of two that contradict, the later in this order wins: limits, caller, container, annotations.

    Args:
        caller: the caller's environment.
        container: the container's environment.
        annotations: the container's annotations.
        limits: the container's limits, as :func:`scrun.slurm.limit_variables.of_limits` takes them.
        directory: the directory that scrun was called in.
        shared: the job of a container that shares a namespace with this one; used unless a setting asks otherwise.
        told: fields of the job for Slurm's accounting; SCRUN_COMMENT wins over ``comment``.

    Raises:
        UsageError: a value is wrong (the message has what is accepted), two variables exclude each other, or the
            container sets a variable that only the caller may set.
    """
    notes: list[str] = []
    callers = _over({}, _of_environment(caller, notes))
    inside = _permitted(_of_environment(container, notes), caller, "set in the container's environment")
    own = _over(_over({}, inside), _permitted(_of_annotations(annotations or {}, notes), caller, "the container's"))
    settings = _over(callers, own)
    existing = container.get("SLURM_JOB_ID") or caller.get("SLURM_JOB_ID")
    if existing or not (shared and _wants_to_share(shared, own, settings, notes)):
        shared = None
    of_limits = _of_limits(limits or {}, settings, shared, notes, new_job=not existing)
    settings = of_limits | settings
    parsed = {row.name: _parsed(settings[row.name], row.parse) for row in TABLE if row.name in settings}
    asked = dict(shared.asked) if shared else {name: settings[name].value for name in shared_job.of_job(settings)}
    job: JobRequest
    if shared:
        notes.append(f"the container runs in {shared}")
        job = {"existing": shared.job, "environment": dict(shared.environment), "first_node": True}
        kept = _of_a_guest(settings, own)
        step = _step_there(kept, {name: parsed[name] for name in kept if name in parsed}, notes) | shared_job.ALONE
    elif existing:
        number = _parsed(Setting(existing, "SLURM_JOB_ID"), parsers.number)
        job = {"existing": number, "environment": job_environment.of_allocation(caller, existing)}
        step = _step_there(settings, parsed, notes)
    else:
        job = {"request": _new_job(directory, settings, parsed, told or {})}
        step = {row.srun: _for_srun(row, settings, parsed) for row in TABLE if row.srun and _counts(row, parsed)}
    job |= {"directory": directory, "all_gpus": "EXCLUSIVE" in of_limits}
    _check_what_nothing_uses(settings, notes)
    return Request(
        *(job, step, _of(settings, PATIENCE, parsers.number), notes),
        asked=asked,
        shares=bool(shared),
        notices=_of(settings, NOTICES, parsers.flag, True),
        node_patience=_of(settings, NODE_PATIENCE, parsers.number),
        network=_of(settings, NETWORK, parsers.network, ""),
    )


def _check_what_nothing_uses(settings: Mapping[str, Setting], notes: list[str]) -> None:
    """Note what has no effect, and refuse a wrong value of SCRUN_SHARE_JOB also where no job is shared."""
    if "POWER" in settings:
        notes.append(f"{settings['POWER'].called} has no effect: Slurm manages no power by job any more")
    _of(settings, SHARE, parsers.flag)


def _of(settings: Mapping[str, Setting], name: str, parse: Parse, default: Any = None) -> Any:
    """The value of a variable; ``default`` if nobody has set it."""
    return _parsed(settings[name], parse) if name in settings else default


def _of_limits(
    limits: Mapping[str, int],
    settings: Mapping[str, Setting],
    shared: SharedJob | None,
    notes: list[str],
    *,
    new_job: bool,
) -> dict[str, Setting]:
    """The settings that the container's limits stand for, where no setting of its own says otherwise."""
    if not _parsed(settings.get(RESOURCES, Setting("use", "")), _use) or not limits:
        return {}
    if shared:
        notes.append(f"the container's limits ({', '.join(limits)}) have no effect: it runs in {shared}")
        return {}
    several = any(settings[name].value != "1" for name in ("NTASKS", "NTASKS_PER_NODE") if name in settings)
    variables = limit_variables.of_limits(**limits, several=several, new_job=new_job)
    return {
        name: Setting(value, f"the container's limits: {name}")
        for name, value in variables.items()
        if not any(other in settings for other in _INSTEAD[name])
    }


def _new_job(
    directory: str, settings: Mapping[str, Setting], parsed: Mapping[str, Any], told: Mapping[str, str]
) -> JobDescription:
    """Describe a new job; a comment that is set wins over the one for Slurm's accounting."""
    description = layout.described(NAME, directory, parsed)
    theirs = {"comment"} if "COMMENT" in settings else set()
    description["fields"] |= {name: told[name] for name in told.keys() - theirs}
    return description


def _wants_to_share(
    shared: SharedJob, own: Mapping[str, Setting], settings: Mapping[str, Setting], notes: list[str]
) -> bool:
    """Whether a container joins that job, because its own settings ask neither for another job nor for other nodes."""
    if not _parsed(settings.get(SHARE, Setting("yes", "")), parsers.flag):
        return False
    for name in shared_job.of_job(own):
        if own[name].value != shared.asked.get(name) and _parsed(own[name], BY_NAME[name].parse) is not False:
            notes.append(f"{own[name].called} asks for a job of its own: the container isn't in {shared}")
            return False
    return True


def _of_a_guest(settings: Mapping[str, Setting], own: Mapping[str, Setting]) -> dict[str, Setting]:
    """The settings that count for a step in another container's job; the caller's settings of jobs meant that job."""
    left = {name for name in (*_OF_A_NEW_JOB, *shared_job.LABELS) if name not in own}.union(shared_job.of_job(settings))
    return {name: value for name, value in settings.items() if name not in left}


def _of_environment(environment: Mapping[str, str], notes: list[str]) -> dict[str, Setting]:
    settings = {}
    for called, value in environment.items():
        if not called.startswith(PREFIX):
            continue
        name = called[len(PREFIX) :]
        if who_may_set(name):
            settings[name] = Setting(value, called)
        elif name not in GIVEN_TO_HOOKS and (like := nearest(called)):
            notes.append(f"{called} is no variable of scrun's, and has no effect: is it {like}?")
    return settings


def _of_annotations(annotations: Mapping[str, str], notes: list[str]) -> dict[str, Setting]:
    settings = {}
    for key, value in annotations.items():
        if name := of_annotation(key):
            settings[name] = Setting(value, f"annotation {key}")
        elif key.startswith(ANNOTATION):
            like = nearest(PREFIX + key[len(ANNOTATION) :].upper().replace("-", "_"))
            hint = f": is it {ANNOTATION}{like[len(PREFIX) :].lower().replace('_', '-')}?" if like else ""
            notes.append(f"annotation {key} is nothing that Slurm can be asked for, and has no effect{hint}")
    return settings


def _permitted(settings: dict[str, Setting], caller: Mapping[str, str], where: str) -> dict[str, Setting]:
    """The settings that a container may have.

    A caller's variable may be empty, because an empty value takes back what an image has set. It may also have the
    caller's own value, because podman's --env-host hands that on.

    Raises:
        UsageError: only the caller may set a variable; or a value has control characters, which would reach logs and
            command lines.
    """
    kept = {}
    for name, setting in settings.items():
        if any(character < " " or character == "\x7f" for character in setting.value):
            raise UsageError(f"{setting.called}, {where}, has control characters in its value: leave them out")
        if who_may_set(name) != CALLER:
            kept[name] = setting
        elif setting.value not in ("", caller.get(f"{PREFIX}{name}")):
            raise UsageError(
                f"{setting.called} is {where}: only the environment of scrun, podman or dockerd itself may set "
                f"{PREFIX}{name}: take it out, or set it to nothing"
            )
    return kept


def _over(lower: dict[str, Setting], upper: dict[str, Setting]) -> dict[str, Setting]:
    """Merge settings; ``upper`` also replaces variables of ``lower`` that it excludes.

    Raises:
        UsageError: two variables of ``upper`` exclude each other.
    """
    merged = lower | upper
    for group in _ALTERNATIVES:
        named = [name for name in group if name in upper]
        if len(named) > 1:
            one, other = (upper[name].called for name in named[:2])
            raise UsageError(f"{one} and {other} exclude each other: set one of them")
        if named:
            merged = {name: setting for name, setting in merged.items() if name not in group or name == named[0]}
    return merged


def _step_there(settings: Mapping[str, Setting], parsed: Mapping[str, Any], notes: list[str]) -> dict[str, str]:
    """The variables for srun in an existing job.

    Steps overlap, because a step would otherwise take all CPUs and memory of its job, and a second container would wait
    for the end of the first.
    """
    step: dict[str, str] = {}
    for row in TABLE:
        if row.name in _OF_A_NEW_JOB:
            if row.name in settings and row.name != "POWER":
                notes.append(f"{settings[row.name].called} has no effect in a job that is there already")
        elif _counts(row, parsed):
            step[row.srun or f"SLURM_{row.name}"] = _for_srun(row, settings, parsed)
    if not any(name in settings for name in ("EXACT", "EXCLUSIVE", "OVERLAP")):
        step["SLURM_OVERLAP"] = "1"
    return step


def _counts(row: Variable, parsed: Mapping[str, Any]) -> bool:
    """Whether a variable is set, and isn't a switch that is off."""
    return row.name in parsed and not (row.parse is parsers.flag and not parsed[row.name])


def _for_srun(row: Variable, settings: Mapping[str, Setting], parsed: Mapping[str, Any]) -> str:
    if row.parse is parsers.flag:
        return "1"
    if row.parse is parsers.gpu_bind:
        return str(parsed[row.name])
    if row.parse is bits.profile:
        return ",".join(word.capitalize() for word in settings[row.name].value.split(","))  # as salloc writes it
    if row.parse is parsers.mebibytes or row.parse is parsers.mebibytes_per_cpu:
        return f"{parsed[row.name] & ~(1 << 63)}M"
    return settings[row.name].value


def _use(value: str) -> bool:
    if value.lower() not in ("use", "ignore"):
        raise ValueError("use or ignore")
    return value.lower() != "ignore"


def _parsed(setting: Setting, parse: Parse) -> Any:
    try:
        return parse(setting.value)
    except ValueError as error:
        raise UsageError(f"{setting.called}={setting.value!r} is not {error}") from None
