"""Values of variables, as srun reads its own: what they become, and what is said of those that aren't."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrun.slurm import bits, parsers
from scrun.slurm.variables import TABLE

INFINITE = 0xFFFFFFFF

ACCEPTED: list[tuple[str, str, Any]] = [
    ("text", "gpu,debug", "gpu,debug"),
    ("node_list", "a[1-3,07]b[0-1],c", "a[1-3,07]b[0-1],c"),
    ("node_list", "", ""),
    ("flag", "", True),
    ("flag", "Yes", True),
    ("flag", "0", False),
    ("number", "0", 0),
    ("count", "3", 3),
    ("small_count", "65533", 65533),
    ("seconds", "5", 300),
    ("seconds", "5:30", 330),
    ("seconds", "1-0", 86400),
    ("minutes", "10", 10),
    ("minutes", "10:30", 11),
    ("minutes", "1:10:30", 71),
    ("minutes", "2-12", 3600),
    ("minutes", "2-12:30:00", 3630),
    ("minutes", "unlimited", INFINITE),
    ("minutes", "-1", INFINITE),
    ("minutes", "0", INFINITE),
    ("mebibytes", "100", 100),
    ("mebibytes", "100M", 100),
    ("mebibytes", "1k", 1),
    ("mebibytes", "1025K", 2),
    ("mebibytes", "2G", 2048),
    ("mebibytes", "2GB", 2048),
    ("mebibytes", "1T", 1 << 20),
    ("mebibytes", "0", 0),
    ("mebibytes_per_cpu", "70M", 70 | 1 << 63),
    ("threads", "2", 0x8002),
    ("nodes", "2", {"min_nodes": 2, "max_nodes": 2}),
    ("nodes", "2-4", {"min_nodes": 2, "max_nodes": 4}),
    ("gpus", "2", "gres/gpu:2"),
    ("gpus", "a100:1,v100:2", "gres/gpu:a100:1,gres/gpu:v100:2"),
    ("gpus_per_task", "2", "gres/gpu=2"),
    ("gpus_per_task", "a100:2", "gres/gpu:a100=2"),
    ("tres", "cpu=2,gres/gpu:a100=1", "cpu=2,gres/gpu:a100=1"),
    ("gres", "gpu:2,craynetwork:1", "gres/gpu:2,gres/craynetwork:1"),
    ("gres", "gres/gpu:2", "gres/gpu:2"),
    ("gres", "none", ""),
    ("gpu_bind", "single:1", "gres/gpu:single:1"),
    ("gpu_freq", "low", "gpu:low"),
    ("per_gpu", "4", "gres/gpu:4"),
    ("memory_per_gpu", "1G", "gres/gpu:1024"),
    ("exclusive", "", 0),
    ("exclusive", "user", 2),
    ("exclusive", "topo", 4),
    ("gres_flags", "enforce-binding", {"bitflags": 1 << 4}),
    ("gres_flags", "disable-binding,one-task-per-sharing", {"bitflags": 1 << 19 | 1 << 38}),
    ("profile", "none,task", 1),
    ("profile", "task,energy", 6),
    ("profile", "none", 1),
    ("profile", "all", INFINITE),
    ("hint", "memory_bound", {"cores_per_socket": 1, "threads_per_core": 1}),
    ("open_mode", "t", 2),
    ("switches", "1", {"req_switch": 1}),
    ("switches", "2@10:00", {"req_switch": 2, "wait4switch": 600}),
    ("warning_signal", "USR1", {"warn_flags": 0, "warn_signal": 10, "warn_time": 60}),
    ("warning_signal", "sigterm@30", {"warn_flags": 0, "warn_signal": 15, "warn_time": 30}),
    ("warning_signal", "RB:10@5", {"warn_flags": 257, "warn_signal": 10, "warn_time": 5}),
    ("mem_bind", "local", {"mem_bind_type": 0x20}),
    ("mem_bind", "verbose,prefer,rank", {"mem_bind_type": 0x85}),
    ("mem_bind", "map_mem:0,1", {"mem_bind_type": 8, "mem_bind": "0,1"}),
    ("distribution", "cyclic", {"task_dist": 0x1}),
    ("distribution", "block:cyclic", {"task_dist": 0x12}),
    ("distribution", "*:block:*", {"task_dist": 0x222}),
    ("distribution", "plane=4", {"task_dist": 4, "plane_size": 4}),
    ("distribution", "block,Pack", {"task_dist": 0x800002}),
    ("distribution", "nopack", {"task_dist": 0x402000}),
    ("distribution", "arbitrary", {"task_dist": 3}),
    ("cpu_freq", "low", {"cpu_freq_max": 0x80000001, "cpu_freq_gov": 0x80800000}),
    ("cpu_freq", "performance", {"cpu_freq_gov": 0x82000000}),
    (
        "cpu_freq",
        "1000000-2000000:ondemand",
        {"cpu_freq_min": 1000000, "cpu_freq_max": 2000000, "cpu_freq_gov": 0x84000000},
    ),
]


def _named(parser: str) -> Callable[[str], Any]:
    found: Callable[[str], Any] = getattr(bits, parser, None) or getattr(parsers, parser)
    return found


@pytest.mark.parametrize(("parser", "value", "expected"), ACCEPTED)
def test_a_value_is_read_as_srun_reads_it(parser: str, value: str, expected: Any) -> None:
    found = _named(parser)(value)
    assert found == expected
    assert type(found) is type(expected)


REFUSED = {
    "node_list": (
        "[",
        "a[",
        "a]",
        "a[1-",
        "a[1-]",
        "a[-1]",
        "a[x]",
        "a[1,,2]",
        "a[5-1]",
        "a[1-99999999]",
        "a[1]]",
        "a[[1]",
    ),
    "flag": ("maybe", "2"),
    "number": ("", "x", "-1", "1.5", "1 ", "²"),
    "count": ("0", "", "x"),
    "small_count": ("0", "65534", "x"),
    "seconds": ("", "soon", "1:2:3:4", "x-1", "1-", ":", "-5", "1.5", "1-1-1", "4294967294"),
    "minutes": ("", "soon", "1:2:3:4", "-5", "4294967294", "99999999999999"),
    "mebibytes": ("", "M", "1.5G", "-1", "much", "1X", "10BB", "9999999999999999T"),
    "threads": ("0", "40000"),
    "nodes": ("", "0", "2-1", "x", "1-", "-2", "1-2-3"),
    "gpus": ("", "a100", "a:b:1", ":1", "1,", "all"),
    "tres": ("cpu", "gres/gpu=x", "", "=2"),
    "gres": ("", ":2", "gpu:1,,"),
    "per_gpu": ("0", "x"),
    "memory_per_gpu": ("x",),
    "mebibytes_per_cpu": ("x", "9999999999999999T"),
    "exclusive": ("maybe",),
    "gres_flags": ("", "enforce", "enforce-binding,x"),
    "profile": ("", "disk"),
    "hint": ("", "fast"),
    "open_mode": ("", "w"),
    "switches": ("", "x", "1@", "1@x"),
    "warning_signal": (
        "",
        "NOPE",
        "_UNBLOCK",
        "SIG_SETMASK",
        "USR1@",
        "USR1@x",
        "X:USR1",
        ":USR1",
        "USR1@70000",
        "0",
        "65",
    ),
    "mem_bind": ("", "near", "map_mem", "map_mem:", "local:0", "loud,local"),
    "distribution": (
        "",
        "random",
        "block:x",
        "plane=x",
        "block,both",
        "plane=70000",
        "fcyclic",
        "block:block:block:block",
    ),
    "cpu_freq": ("", "fast", "2147483649", "1-2", "2-1:ondemand", "low-high:fast"),
}


@pytest.mark.parametrize(("parser", "value"), [(name, value) for name, values in REFUSED.items() for value in values])
def test_another_value_is_refused_with_what_is_accepted(parser: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"^[\[a-z].*[^.]$"):
        _named(parser)(value)


def test_every_parser_of_the_table_has_rows_above() -> None:
    used = {row.parse.__name__ for row in TABLE}
    assert used <= {parser for parser, *_ in ACCEPTED}
    # Of what has no row below nothing is refused: it is text.
    assert used - REFUSED.keys() <= {"text", "gpu_bind", "gpu_freq", "gpus_per_task"}


@pytest.mark.parametrize("parser", sorted({row.parse.__name__ for row in TABLE}))
@given(value=st.text(max_size=20))
def test_parsers_fail_only_by_saying_what_they_take(parser: str, value: str) -> None:
    said = ""
    try:
        _named(parser)(value)
    except ValueError as error:
        said = str(error)
    assert "invalid literal" not in said


@pytest.mark.parametrize("parser", sorted({row.parse.__name__ for row in TABLE}))
def test_numbers_of_any_length_get_the_same_refusal(parser: str) -> None:
    for value in ("{}", "{}K", "{}T", "1@{}", "{}-1", "1-{}", "{}:1", "USR1@{}", "plane={}", "a:{}"):
        said = set()
        for digits in (20, 400, 5000):
            try:
                _named(parser)(value.format("9" * digits))
            except ValueError as error:
                said.add(str(error))
        assert len(said) <= 1, value
        assert "digits" not in str(said)


@given(days=st.integers(0, 40), hours=st.integers(0, 23), minutes=st.integers(0, 59), seconds=st.integers(0, 59))
def test_times_are_read_in_all_their_forms(days: int, hours: int, minutes: int, seconds: int) -> None:
    whole = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    assert parsers.seconds(f"{days}-{hours}:{minutes:02d}:{seconds:02d}") == whole
    assert parsers.seconds(f"{days * 24 + hours}:{minutes:02d}:{seconds:02d}") == whole
