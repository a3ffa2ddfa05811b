"""Parsers for the values of SCRUN_* variables, which accept what srun accepts.

Each parser takes the text, and returns the value of the job's field or raises a ValueError whose message continues a
sentence: "SCRUN_NTASKS='x' is not …". Names of partitions or features stay text, because only slurmctld can check them.
Parsers for bits of slurm.h are in :mod:`scrun.slurm.bits`.
"""

from __future__ import annotations

from scrun.digits import is_number

UNLIMITED = 0xFFFFFFFF  # slurm.h: INFINITE
MOST16 = 0xFFFD  # slurm.h: a uint16_t that is no NO_VAL16 and no INFINITE16
_MOST32 = 0xFFFFFFFD
_MOST64 = (1 << 63) - 1  # MiB; the next bit is slurm.h's MEM_PER_CPU
_MOST_IN_RANGE = 1 << 16  # nodes; Slurm's own limit (hostlist.c: MAX_RANGE)
_SIZES = {"k": 1, "m": 1 << 10, "g": 1 << 20, "t": 1 << 30}  # in KiB


def text(value: str) -> str:
    """Any text; slurmctld checks it."""
    return value


def node_list(value: str) -> str:
    """A list of node names, ``node[1-4,7],other``; slurmctld checks whether the nodes exist."""
    rest, bracket = value, "["
    while bracket:
        before, bracket, rest = rest.partition("[")
        ranges, closing, rest = rest.partition("]") if bracket else ("", "", "")
        if "]" in before or bool(bracket) != bool(closing) or (bracket and not all(map(_is_range, ranges.split(",")))):
            raise ValueError("a list of nodes, as in node1,other[3-5,7]")
    return value


def _is_range(item: str) -> bool:
    low, dash, high = item.partition("-")
    high = high if dash else low
    are_numbers = all(end.isascii() and end.isdigit() and len(end) < 10 for end in (low, high))
    return are_numbers and 0 <= int(high) - int(low) < _MOST_IN_RANGE


def flag(value: str) -> bool:
    """A switch; an empty value is yes, as for srun."""
    known = {"": True, "1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}
    if value.lower() not in known:
        raise ValueError("yes or no")
    return known[value.lower()]


def number(value: str) -> int:
    """A whole number from 0."""
    return _number(value, 0, _MOST32, "a whole number")


def count(value: str) -> int:
    """A whole number from 1."""
    return _number(value, 1, _MOST32, "a whole number from 1")


def small_count(value: str) -> int:
    """A whole number from 1 that fits 16 bits."""
    return _number(value, 1, MOST16, f"a whole number from 1 to {MOST16}")


def _number(value: str, least: int, most: int, what: str) -> int:
    if not (is_number(value) and least <= int(value) <= most):
        raise ValueError(what)
    return int(value)


def seconds(value: str) -> int:
    """A time in seconds, as sbatch(1) takes it; a lone number is minutes."""
    return _below(_MOST32, _seconds(value), "a time")


def _below(most: int, number: int, what: str) -> int:
    if number > most:
        raise ValueError(f"{what} that Slurm can count")
    return number


def _seconds(value: str) -> int:
    days, dash, clock = value.rpartition("-")
    parts = clock.split(":")
    if not all(map(is_number, (*([days] if dash else ()), *parts))) or len(parts) > 3:
        raise ValueError("minutes, minutes:seconds, hours:minutes:seconds or days-hours[:minutes[:seconds]]")
    numbers = [int(part) for part in parts]
    if dash or len(parts) == 3:
        hours, minutes, rest = (*numbers, 0, 0)[:3]
    else:
        hours, minutes, rest = 0, *(*numbers, 0)[:2]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + rest


def minutes(value: str) -> int:
    """A time limit in minutes, rounded up; 0 is unlimited, as for srun."""
    if value.upper() in ("INFINITE", "UNLIMITED", "-1", "0"):
        return UNLIMITED
    try:
        rounded_up = (_seconds(value) + 59) // 60
    except ValueError as error:
        raise ValueError(str(error).replace(" or ", ", ", 1) + " or UNLIMITED") from None
    return _below(_MOST32, rounded_up, "a time")


def mebibytes(value: str) -> int:
    """A size of memory in MiB, rounded up; a number without a unit is MiB."""
    digits, unit = (value[:-1], value[-1:]) if value[-1:].isalpha() else (value, "m")
    if value[-2:-1].isalpha() and unit in "bB":  # 2GB
        digits, unit = value[:-2], value[-2]
    if not is_number(digits) or unit.lower() not in _SIZES:
        raise ValueError("a size of memory: a whole number of MiB, or one with K, M, G or T")
    return _below(_MOST64, -(-int(digits) * _SIZES[unit.lower()] // 1024), "a size")


def mebibytes_per_cpu(value: str) -> int:
    """A size of memory for each CPU in MiB, with slurm.h's mark MEM_PER_CPU, for the field of a node's memory."""
    return mebibytes(value) | 1 << 63


def threads(value: str) -> int:
    """A number of threads with slurm.h's mark CORE_SPEC_THREAD, for the field of a number of cores."""
    return _number(value, 1, 0x7FFF, "a whole number from 1 to 32767") | 0x8000


def nodes(value: str) -> dict[str, int]:
    """A number of nodes or a range, ``2`` or ``2-4``."""
    low, dash, high = value.partition("-")
    try:
        least, most = count(low), count(high if dash else low)
    except ValueError:
        least, most = 1, 0
    if most < least:
        raise ValueError("a number of nodes, or a range such as 2-4")
    return {"min_nodes": least, "max_nodes": most}


def gpus(value: str) -> str:
    """GPUs as a TRES: ``2``, ``a100:2`` or ``a100:2,v100:1``."""
    return ",".join(f"gres/gpu:{part}" for part in _gpus(value))


def gpus_per_task(value: str) -> str:
    """GPUs for each task as a TRES, which is written with ``=``."""
    return ",".join(
        f"gres/gpu:{part.replace(':', '=')}" if ":" in part else f"gres/gpu={part}" for part in _gpus(value)
    )


def tres(value: str) -> str:
    """A list of TRES: ``cpu=2,gres/gpu=1,gres/gpu:a100=1``."""
    for part in value.split(","):
        name, equals, number = part.replace(":", "=").rpartition("=")
        if not name or not equals or not is_number(number):
            raise ValueError("a list of TRES with their numbers, as in cpu=2,gres/gpu=1")
    return value


def _gpus(value: str) -> list[str]:
    parts = value.split(",")
    for part in parts:
        kind, colon, how_many = part.rpartition(":")
        if not is_number(how_many) or (colon and not kind) or ":" in kind:
            raise ValueError("a number of GPUs, or TYPE:NUMBER")
    return parts


def gres(value: str) -> str:
    """A list of GRES: ``gpu:a100:2,craynetwork:1``; ``none`` is no GRES at all."""
    if value.lower() == "none":
        return ""
    parts = value.split(",")
    if not all(part and not part.startswith(":") for part in parts):
        raise ValueError("generic resources as in gpu:2 or gpu:a100:2,other:1")
    return ",".join(part if part.startswith("gres") else f"gres/{part}" for part in parts)


def gpu_bind(value: str) -> str:
    """The binding of tasks to GPUs, as a TRES."""
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


def switches(value: str) -> dict[str, int]:
    """The most switches between the nodes, and seconds to wait for so few: ``COUNT[@TIME]``."""
    how_many, at, patience = value.partition("@")
    try:
        return {"req_switch": number(how_many), **({"wait4switch": seconds(patience)} if at else {})}
    except ValueError:
        raise ValueError("a number of switches, or NUMBER@TIME") from None


def network(value: str) -> str:
    """Parse SCRUN_NET: which network a container is on; an empty value takes back what somebody else has set."""
    if value.lower() not in ("", "auto", "engine", "node"):
        raise ValueError("auto, engine or node")
    return value.lower()
