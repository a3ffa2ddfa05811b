"""The values of SCRUN_* variables, read as srun reads its own; and what is accepted, for who wrote another.

Each parser takes the text and returns what its field of the job is set to, or raises a ValueError whose message goes on
a sentence: "SCRUN_NTASKS='x' is not …". What slurmctld alone can judge (names of partitions, features) stays text.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UNLIMITED = 0xFFFFFFFF  # slurm.h: INFINITE
MOST16 = 0xFFFD  # slurm.h: a uint16_t that is no NO_VAL16 and no INFINITE16
_MOST32 = 0xFFFFFFFD
_SIZES = {"k": 1 / 1024, "m": 1, "g": 1024, "t": 1024 * 1024}  # in MiB


def text(value: str) -> str:
    """Anything; slurmctld says what it doesn't like."""
    return value


def flag(value: str) -> bool:
    """A switch: srun takes an empty value for yes."""
    known = {"": True, "1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}
    if value.lower() not in known:
        raise ValueError("yes or no")
    return known[value.lower()]


def number(value: str) -> int:
    """A whole number from 0."""
    return _number(value, 0, _MOST32, "a whole number")


def count(value: str) -> int:
    """How many of something: from 1."""
    return _number(value, 1, _MOST32, "a whole number from 1")


def small_count(value: str) -> int:
    """A :func:`count` for a field of 16 bits."""
    return _number(value, 1, MOST16, f"a whole number from 1 to {MOST16}")


def _number(value: str, least: int, most: int, what: str) -> int:
    if not (value.isascii() and value.isdigit() and least <= int(value) <= most):
        raise ValueError(what)
    return int(value)


def seconds(value: str) -> int:
    """A time as sbatch(1) takes it; a lone number is minutes."""
    days, dash, clock = value.rpartition("-")
    parts = clock.split(":")
    if not all(part.isascii() and part.isdigit() for part in (*([days] if dash else ()), *parts)) or len(parts) > 3:
        raise ValueError("minutes, minutes:seconds, hours:minutes:seconds or days-hours[:minutes[:seconds]]")
    numbers = [int(part) for part in parts]
    if dash or len(parts) == 3:
        hours, minutes, rest = (*numbers, 0, 0)[:3]
    else:
        hours, minutes, rest = 0, *(*numbers, 0)[:2]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + rest


def minutes(value: str) -> int:
    """A time limit in minutes, rounded up; 0 asks for none, as srun's."""
    if value.upper() in ("INFINITE", "UNLIMITED", "-1", "0"):
        return UNLIMITED
    try:
        return (seconds(value) + 59) // 60
    except ValueError as error:
        raise ValueError(str(error).replace(" or ", ", ", 1) + " or UNLIMITED") from None


def mebibytes(value: str) -> int:
    """A size of memory in MiB, rounded up; a lone number is MiB."""
    digits, unit = (value[:-1], value[-1:]) if value[-1:].isalpha() else (value, "m")
    if value[-2:-1].isalpha() and unit in "bB":  # 2GB
        digits, unit = value[:-2], value[-2]
    if not (digits.isascii() and digits.isdigit()) or unit.lower() not in _SIZES:
        raise ValueError("a size of memory: a whole number of MiB, or one with K, M, G or T")
    return -int(-int(digits) * _SIZES[unit.lower()] // 1)


def mebibytes_per_cpu(value: str) -> int:
    """:func:`mebibytes` for each CPU: in the field of a node's memory, marked (slurm.h: MEM_PER_CPU)."""
    return mebibytes(value) | 1 << 63


def threads(value: str) -> int:
    """How many threads, in the field of a number of cores, marked (slurm.h: CORE_SPEC_THREAD)."""
    return _number(value, 1, 0x7FFF, "a whole number from 1 to 32767") | 0x8000


def nodes(value: str) -> dict[str, int]:
    """``2`` or ``2-4``: from how many nodes to how many."""
    low, dash, high = value.partition("-")
    try:
        least, most = count(low), count(high if dash else low)
    except ValueError:
        least, most = 1, 0
    if most < least:
        raise ValueError("a number of nodes, or a range such as 2-4")
    return {"min_nodes": least, "max_nodes": most}


def gpus(value: str) -> str:
    """``2``, ``a100:2`` or ``a100:2,v100:1``, as a TRES."""
    return ",".join(f"gres/gpu:{part}" for part in _gpus(value))


def gpus_per_task(value: str) -> str:
    """The same for each task; such TRES are written otherwise."""
    return ",".join(
        f"gres/gpu:{part.replace(':', '=')}" if ":" in part else f"gres/gpu={part}" for part in _gpus(value)
    )


def tres(value: str) -> str:
    """``cpu=2,gres/gpu=1,gres/gpu:a100=1``."""
    for part in value.split(","):
        name, equals, number = part.replace(":", "=").rpartition("=")
        if not name or not equals or not (number.isascii() and number.isdigit()):
            raise ValueError("a list of TRES with their numbers, as in cpu=2,gres/gpu=1")
    return value


def _gpus(value: str) -> list[str]:
    parts = value.split(",")
    for part in parts:
        kind, colon, how_many = part.rpartition(":")
        if not (how_many.isascii() and how_many.isdigit()) or (colon and not kind) or ":" in kind:
            raise ValueError("a number of GPUs, or TYPE:NUMBER")
    return parts


def gres(value: str) -> str:
    """``gpu:a100:2,craynetwork:1``; ``none`` is no GRES at all."""
    if value.lower() == "none":
        return ""
    parts = value.split(",")
    if not all(part and not part.startswith(":") for part in parts):
        raise ValueError("generic resources as in gpu:2 or gpu:a100:2,other:1")
    return ",".join(part if part.startswith("gres") else f"gres/{part}" for part in parts)


def gpu_bind(value: str) -> str:
    """How tasks are bound to GPUs, as a TRES."""
    return f"gres/gpu:{value}"


def gpu_freq(value: str) -> str:
    """The GPUs' frequency, as a TRES."""
    return f"gpu:{value}"


def per_gpu(value: str) -> str:
    """A number for each GPU, as a TRES."""
    return f"gres/gpu:{count(value)}"


def memory_per_gpu(value: str) -> str:
    """A size of memory for each GPU, as a TRES."""
    return f"gres/gpu:{mebibytes(value)}"


def exclusive(value: str) -> int:
    """Whom the nodes are shared with; the field is slurm.h's JOB_SHARED_*."""
    known = {"": 0, "1": 0, "yes": 0, "exclusive": 0, "allocation": 0}
    known |= {"oversubscribe": 1, "user": 2, "mcs": 3, "topo": 4}
    if value.lower() not in known:
        raise ValueError("exclusive (or empty), allocation, user, mcs, topo or oversubscribe")
    return known[value.lower()]


def gres_flags(value: str) -> dict[str, int]:
    """Bits of the job's flags; allow-task-sharing concerns the step alone."""
    known = {"disable-binding": 1 << 19, "enforce-binding": 1 << 4, "allow-task-sharing": 0}
    known |= {"multiple-tasks-per-sharing": 1 << 39, "one-task-per-sharing": 1 << 38}
    return {"bitflags": _bits(value, known)}


def _bits(value: str, known: dict[str, int]) -> int:
    bits = 0
    for word in value.lower().split(","):
        if word not in known:
            raise ValueError(f"one or more of {', '.join(known)}")
        bits |= known[word]
    return bits


def profile(value: str) -> int:
    """What acct_gather_profile collects; the field is slurm.h's ACCT_GATHER_PROFILE_*."""
    known = {"none": 1, "energy": 2, "task": 4, "lustre": 8, "network": 16, "all": UNLIMITED}
    bits = _bits(value, known)
    return 1 if bits & 1 and bits != UNLIMITED else bits


def hint(value: str) -> dict[str, int]:
    """What srun(1) makes of --hint for the job; the rest of it is binding, and srun's own."""
    known: dict[str, dict[str, int]] = {
        "compute_bound": {"threads_per_core": 1},
        "memory_bound": {"cores_per_socket": 1, "threads_per_core": 1},
        "multithread": {"ntasks_per_core": 0xFFFF},
        "nomultithread": {"threads_per_core": 1},
    }
    if value.lower() not in known:
        raise ValueError(f"one of {', '.join(known)}")
    return known[value.lower()]


def open_mode(value: str) -> int:
    """The field is slurm.h's OPEN_MODE_*."""
    known = {"a": 1, "append": 1, "t": 2, "truncate": 2}
    if value.lower() not in known:
        raise ValueError("append or truncate")
    return known[value.lower()]


def switches(value: str) -> dict[str, int]:
    """``COUNT[@TIME]``: the most switches between the nodes, and how long to wait for so few (seconds)."""
    how_many, at, patience = value.partition("@")
    try:
        return {"req_switch": number(how_many), **({"wait4switch": seconds(patience)} if at else {})}
    except ValueError:
        raise ValueError("a number of switches, or NUMBER@TIME") from None


def warning(value: str) -> dict[str, int]:
    """``[[R][B]:]SIGNAL[@SECONDS]``: the signal that comes before the time limit does."""
    import signal

    flags, colon, rest = value.upper().rpartition(":")
    name, at, when = rest.partition("@")
    found: Any = getattr(signal, name if name.startswith("SIG") else f"SIG{name}", None)
    sign = int(name) if name.isascii() and name.isdigit() else found
    good = isinstance(sign, int) and 0 < sign < signal.NSIG and set(flags) <= {"R", "B"} and (not colon or flags)
    if not good or (at and not (when.isascii() and when.isdigit() and int(when) <= 0xFFFF)):
        raise ValueError("a signal with the seconds before the end, as in USR1@60 or R:USR1@60")
    # slurm.h: KILL_JOB_RESV is bit 8, KILL_JOB_BATCH bit 0.
    bits = (256 if "R" in flags else 0) | (1 if "B" in flags else 0)
    return {"warn_flags": bits, "warn_signal": int(sign), "warn_time": int(when) if at else 60}


def mem_bind(value: str) -> dict[str, Any]:
    """``[quiet|verbose,][prefer,]TYPE[:LIST]``; the fields are slurm.h's mem_bind_type_t and the list."""
    types = {"none": 2, "no": 2, "rank": 4, "local": 0x20}
    flags = {"quiet": 0, "q": 0, "verbose": 1, "v": 1, "sort": 0x40, "prefer": 0x80, "p": 0x80}
    lists = {"map_mem": 8, "mask_mem": 0x10}
    words, _, listed = value.partition(":")
    *before, last = words.lower().split(",")
    known = lists if listed else types | flags
    if last not in known or not all(word in flags for word in before):
        raise ValueError("[verbose,]none, rank, local, map_mem:LIST or mask_mem:LIST")
    bits = known[last]
    for word in before:
        bits |= flags[word]
    return {"mem_bind_type": bits, **({"mem_bind": listed} if listed else {})}


def distribution(value: str) -> dict[str, int]:
    """How tasks are laid out on nodes, sockets and cores; the field is slurm.h's task_dist_states_t."""
    first, *flags = value.lower().split(",")
    bits = {"pack": 0x800000, "nopack": 0x400000}.get(flags[0], 0) if flags else 0
    if first in _ONLY_PACKING and not flags:
        return {"task_dist": _ONLY_PACKING[first]}
    whole = {"arbitrary": 3, "hostfile": 3, "plane": 4}
    kind, equals, size = first.partition("=")
    if equals and kind == "plane" and size.isascii() and size.isdigit():
        return {"task_dist": 4 | bits, "plane_size": int(size)}
    if first in whole:
        return {"task_dist": whole[first] | bits}
    sides = {"cyclic": 1, "block": 2, "fcyclic": 3}
    methods = first.split(":")
    defaults = ("block", "cyclic", methods[1] if len(methods) > 1 and methods[1] != "*" else "cyclic")
    if len(methods) > 3 or methods[0] == "fcyclic" or len(flags) > (1 if bits else 0):
        methods = ["none"]
    for place, method in enumerate(methods):
        known = sides.get(defaults[place] if method == "*" else method)
        if not known:
            raise ValueError(
                "block, cyclic, arbitrary or plane=SIZE, with :block, :cyclic or :fcyclic, and ,pack or ,nopack"
            )
        bits |= known << 4 * place
    return {"task_dist": bits}


_ONLY_PACKING = {"pack": 0x802000, "nopack": 0x402000}  # of nothing known but that: SLURM_DIST_UNKNOWN


def cpu_freq(value: str) -> dict[str, int]:
    """``p1[-p2[:p3]]``: a frequency in kHz or low, medium, high, highm1; or a governor. The fields are slurm.h's."""
    governors = {"conservative": 0x88000000, "ondemand": 0x84000000, "performance": 0x82000000}
    governors |= {"powersave": 0x81000000, "userspace": 0x80800000, "schedutil": 0x80400000}
    speeds = {"low": 0x80000001, "medium": 0x80000002, "high": 0x80000003, "highm1": 0x80000004}

    def speed(word: str) -> int:
        return int(word) if word.isascii() and word.isdigit() else speeds.get(word, 0)

    low, _, rest = value.lower().partition("-")
    high, colon, governor = rest.partition(":")
    if not rest and low in governors:
        return {"cpu_freq_gov": governors[low]}
    if not rest and speed(low):
        return {"cpu_freq_max": speed(low), "cpu_freq_gov": governors["userspace"]}
    if not (speed(low) and speed(low) <= speed(high) and colon and governor in governors):
        raise ValueError("a frequency (kHz, low, medium, high, highm1), a governor, or LOW-HIGH:GOVERNOR")
    return {"cpu_freq_min": speed(low), "cpu_freq_max": speed(high), "cpu_freq_gov": governors[governor]}
