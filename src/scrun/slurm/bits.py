"""Parsers for SCRUN_* variables whose words stand for bits and numbers of slurm.h.

They have the form of :mod:`scrun.slurm.parsers`: each takes the text, and returns the value of the job's field or
raises a ValueError whose message continues a sentence.
"""

from __future__ import annotations

from scrun import signal
from scrun.digits import is_number
from scrun.slurm.parsers import MOST16, UNLIMITED

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass


def exclusive(value: str) -> int:
    """The jobs that the nodes are shared with, as slurm.h's JOB_SHARED_*."""
    known = {"": 0, "1": 0, "yes": 0, "exclusive": 0, "allocation": 0}
    known |= {"oversubscribe": 1, "user": 2, "mcs": 3, "topo": 4}
    if value.lower() not in known:
        raise ValueError("exclusive (or empty), allocation, user, mcs, topo or oversubscribe")
    return known[value.lower()]


def gres_flags(value: str) -> dict[str, int]:
    """GRES flags as bits of the job's flags; allow-task-sharing concerns the step only."""
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
    """The data that acct_gather_profile collects, as slurm.h's ACCT_GATHER_PROFILE_*."""
    known = {"none": 1, "energy": 2, "task": 4, "lustre": 8, "network": 16, "all": UNLIMITED}
    bits = _bits(value, known)
    return 1 if bits & 1 and bits != UNLIMITED else bits


def hint(value: str) -> dict[str, int]:
    """The job's fields for srun's --hint (srun(1)); its other effects are task binding, which srun does itself."""
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
    """How standard error is opened as a file, as slurm.h's OPEN_MODE_*."""
    known = {"a": 1, "append": 1, "t": 2, "truncate": 2}
    if value.lower() not in known:
        raise ValueError("append or truncate")
    return known[value.lower()]


def warning_signal(value: str) -> dict[str, int]:
    """The signal before the time limit, ``[[R][B]:]SIGNAL[@SECONDS]``."""
    flags, colon, rest = value.upper().rpartition(":")
    name, at, when = rest.partition("@")
    sign = int(name) if is_number(name) else signal.by_name(name if name.startswith("SIG") else f"SIG{name}")
    good = sign and sign < signal.NSIG and set(flags) <= {"R", "B"} and (not colon or flags)
    if not sign or not good or (at and not (is_number(when) and int(when) <= 0xFFFF)):
        raise ValueError("a signal with the seconds before the end, as in USR1@60 or R:USR1@60")
    # slurm.h: KILL_JOB_RESV is bit 8, KILL_JOB_BATCH bit 0.
    bits = (256 if "R" in flags else 0) | (1 if "B" in flags else 0)
    return {"warn_flags": bits, "warn_signal": sign, "warn_time": int(when) if at else 60}


def mem_bind(value: str) -> dict[str, int | str]:
    """Memory binding, ``[quiet|verbose,][prefer,]TYPE[:LIST]``, as slurm.h's mem_bind_type_t and the list."""
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
    """The layout of tasks on nodes, sockets and cores, as slurm.h's task_dist_states_t."""
    first, *flags = value.lower().split(",")
    bits = {"pack": 0x800000, "nopack": 0x400000}.get(flags[0], 0) if flags else 0
    if first in _ONLY_PACKING and not flags:
        return {"task_dist": _ONLY_PACKING[first]}
    whole = {"arbitrary": 3, "hostfile": 3, "plane": 4}
    kind, equals, size = first.partition("=")
    if equals and kind == "plane" and is_number(size) and int(size) <= MOST16:
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


_ONLY_PACKING = {"pack": 0x802000, "nopack": 0x402000}  # with SLURM_DIST_UNKNOWN


_FREQUENCY_WORD = 1 << 31  # this bit of slurm.h's CPU_FREQ_* means that the value is no number of kHz


def cpu_freq(value: str) -> dict[str, int]:
    """CPU frequency, ``p1[-p2[:p3]]``: kHz, low, medium, high or highm1; or a governor. As slurm.h's CPU_FREQ_*."""
    governors = {"conservative": 0x88000000, "ondemand": 0x84000000, "performance": 0x82000000}
    governors |= {"powersave": 0x81000000, "userspace": 0x80800000, "schedutil": 0x80400000}
    speeds = {"low": 0x80000001, "medium": 0x80000002, "high": 0x80000003, "highm1": 0x80000004}

    def speed(word: str) -> int:
        if is_number(word):
            return int(word) if int(word) < _FREQUENCY_WORD else 0
        return speeds.get(word, 0)

    low, _, rest = value.lower().partition("-")
    high, colon, governor = rest.partition(":")
    if not rest and low in governors:
        return {"cpu_freq_gov": governors[low]}
    if not rest and speed(low):
        return {"cpu_freq_max": speed(low), "cpu_freq_gov": governors["userspace"]}
    if not (speed(low) and speed(low) <= speed(high) and colon and governor in governors):
        raise ValueError("a frequency (kHz, low, medium, high, highm1), a governor, or LOW-HIGH:GOVERNOR")
    return {"cpu_freq_min": speed(low), "cpu_freq_max": speed(high), "cpu_freq_gov": governors[governor]}
