"""events: what /proc says summed up, intervals as Go writes them, and an end when the container ends."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrun.errors import UsageError, WrongStatus
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.operations import events


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("1m", 60), ("1m30s", 90), ("1.5h", 5400), ("500ms", 0.5), ("10", 10), ("0.5", 0.5), (".5s", 0.5)],
)
def test_an_interval_is_seconds_or_a_go_duration(text: str, seconds: float) -> None:
    assert events.interval(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0", "0s", "-1", "-5s", "5y", "s", "5 s", "1m30", "nan", "inf", "1e99", "5s!"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time"):
        events.interval(text)


# proc_pid_stat(5): a command may hold anything, a parenthesis and a newline (here a blank) too.
STAT = " 12 (a) b) S 1 12 12 0 -1 4194560 100 0 0 0 {utime} {stime} {cutime} {cstime} 20 0 1 0 5 1000 {rss} 1844"


def test_the_processes_of_a_node_are_summed_up() -> None:
    printed = "\n".join(
        [
            "100 4096",
            STAT.format(utime=100, stime=50, cutime=7, cstime=3, rss=10),
            STAT.format(utime=1, stime=2, cutime=0, cstime=0, rss=5),
        ]
    )
    assert events.usage(printed + "\n") == {
        "cpu": {"usage": {"total": 1_630_000_000, "kernel": 550_000_000, "user": 1_080_000_000}},
        "memory": {"usage": {"usage": 15 * 4096}},
        "pids": {"current": 2},
    }


@pytest.mark.parametrize(
    "printed", ["100 65536\n", "", "\n", "sh: 2: getconf: not found\n", "100\n", "\u00b2 \u00b2\n"]
)
def test_a_node_without_a_process_uses_nothing(printed: str) -> None:
    assert events.usage(printed)["pids"]["current"] == 0


def test_a_node_without_getconf_tells_its_units(tmp_path: Path) -> None:
    script = f"find_members() {{ members=; }}\n{events._STAT}"
    done = subprocess.run(
        ["/bin/sh", "-c", script], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == (f"{os.sysconf('SC_CLK_TCK')} {os.sysconf('SC_PAGESIZE')}\n", "")


@given(st.lists(st.integers(0, 10**6), max_size=5))
def test_the_total_is_the_sum_over_nodes(times: list[int]) -> None:
    each = [events.usage("100 4096\n" + STAT.format(utime=n, stime=1, cutime=0, cstime=0, rss=n)) for n in times]
    total = events.total(each)
    assert total["cpu"]["usage"]["user"] == sum(times) * 10**7
    assert total["memory"]["usage"]["usage"] == sum(times) * 4096
    assert total["pids"]["current"] == len(times)


def test_what_waits_for_its_job_uses_nothing_yet(container: Container) -> None:
    told: list[Any] = []
    events.report_usage(container, None, told.append)
    (event,) = told
    assert (event["type"], event["id"]) == ("stats", "box")
    assert event["data"]["cpu"]["usage"]["total"] == 0
    assert event["data"]["job"]["id"] is None


@pytest.mark.parametrize("now", ["creating", "stopped"])
def test_what_does_not_run_has_no_events(now: str, container: Container) -> None:
    container.record["status"] = now
    with pytest.raises(WrongStatus, match=f"cannot watch container 'box': container not running: it is {now}"):
        events.report_usage(container, None, lambda _event: None)


CPUS = "SLURM_JOB_CPUS_PER_NODE=2(x2),1"


@pytest.mark.parametrize(
    ("lines", "count", "megabytes"),
    [
        (["SLURM_MEM_PER_NODE=100", CPUS], 1, 100),
        (["SLURM_MEM_PER_NODE=100", CPUS], 3, 300),
        (["SLURM_MEM_PER_CPU=50", CPUS], 1, 100),
        (["SLURM_MEM_PER_CPU=50", CPUS], 3, 250),
        (["SLURM_MEM_PER_CPU=50", "SLURM_JOB_CPUS_PER_NODE=4"], 1, 200),
        (["SLURM_MEM_PER_CPU=50"], 1, 0),
        ([], 1, 0),
    ],
)
def test_the_jobs_memory_is_the_limit_in_bytes(lines: list[str], count: int, megabytes: int) -> None:
    assert events.limit({"job_environment": lines}, count) == megabytes << 20  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("tres", "megabytes"),
    [
        ("cpu=2,mem=100M,node=1", 100),
        ("mem=1.50G", 1536),
        ("mem=2T", 2 << 20),
        ("cpu=1", 0),
        ("mem=", 0),
        ("mem=x", 0),
        ("", 0),
    ],
)
def test_the_jobs_tres_is_the_limit_otherwise(tres: str, megabytes: int) -> None:
    assert events.limit({}, 1, tres) == megabytes << 20  # type: ignore[typeddict-item]
    assert events.limit({"job_environment": ["SLURM_MEM_PER_NODE=7"]}, 1, tres) == 7 << 20  # type: ignore[typeddict-item]
