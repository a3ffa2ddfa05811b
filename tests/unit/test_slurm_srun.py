"""srun: the exact command lines, node lists, and what its words mean (measured with Slurm 26.05.5)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrun.errors import SlurmMissing, UsageError
from scrun.slurm import srun

STEP: dict[str, Any] = {"job": 42, "bundle": "/b", "container_id": "box", "args": ["/bin/echo", "-n", "a b"]}


@pytest.mark.parametrize(
    ("changed", "argv"),
    [
        (
            {"pty": False, "stderr": 4},
            "srun -v --jobid=42 --container=/b --container-id=box --export=NONE"
            " --error=/proc/self/fd/4 --open-mode=append",
        ),
        ({"pty": False, "stderr": None}, "srun -v --jobid=42 --container=/b --container-id=box --export=NONE"),
        ({"pty": True, "stderr": None}, "srun -v --jobid=42 --container=/b --container-id=box --export=NONE --pty"),
        ({"pty": True, "stderr": 4}, "srun -v --jobid=42 --container=/b --container-id=box --export=NONE --pty"),
    ],
)
def test_the_containers_step(changed: dict[str, Any], argv: str) -> None:
    assert srun.container_step(["srun"], **STEP, **changed) == [*argv.split(), "--", "/bin/echo", "-n", "a b"]


def test_the_sites_arguments_come_first() -> None:
    argv = srun.container_step(["/opt/srun", "--x"], **STEP | {"bundle": "/b c"}, pty=False, stderr=None)
    assert argv[:3] == ["/opt/srun", "--x", "-v"]
    assert "--container=/b c" in argv


@pytest.mark.parametrize(
    ("nodes", "where"),
    [(None, ""), ([], ""), (["n1"], "--nodelist=n1 --nodes=1"), (["n1", "n2"], "--nodelist=n1,n2 --nodes=2")],
)
def test_a_command_beside_the_container(nodes: list[str] | None, where: str) -> None:
    beside = "srun --jobid=42 --job-name=scrun-look --overlap --quiet --ntasks-per-node=1 --mpi=none --export=ALL"
    argv = srun.command_step(["srun"], job=42, name="look", argv=["/bin/sh", "-c", "true; true"], nodes=nodes)
    assert argv == [*beside.split(), *where.split(), "--", "/bin/sh", "-c", "true; true"]


def _run_as_a_task(argv: Sequence[str]) -> tuple[list[str], str]:
    """What srun's command line is for that, and what the nodes' shell prints."""
    command = srun.command_step(["srun"], job=42, name="look", argv=argv)
    short, brought = srun.by_environment(command)
    task = short[short.index("--") + 1 :]
    return short, subprocess.run(task, env={"PATH": os.defpath, **brought}, capture_output=True, text=True).stdout


@pytest.mark.parametrize("bash", [(), ('command -v bash >/dev/null && exec bash -c "$0" "$@"; exec sh -c "$0" "$@"',)])
def test_a_script_is_on_no_command_line(bash: tuple[str, ...]) -> None:
    script = 'secret=1\nprintf "%s;" "$0" "$@"'
    for word in ("a b", "a\nb"):
        command, said = _run_as_a_task(["sh", "-c", *bash, script, "name", word, "$c"])
        assert said == f"name;{word};$c;"
        assert "secret" not in " ".join(command)
        assert "\n" not in " ".join(command)
    assert _run_as_a_task(["sh", "-c", "echo one line"]) == (
        srun.command_step(["srun"], job=42, name="look", argv=["sh", "-c", "echo one line"]),
        "one line\n",
    )


@pytest.mark.parametrize(
    ("nodes", "names"),
    [
        ("", []),
        ("node1", ["node1"]),
        ("a,b", ["a", "b"]),
        ("node[1-3,7],gpu1", ["node1", "node2", "node3", "node7", "gpu1"]),
        ("n[001-003]", ["n001", "n002", "n003"]),
        ("n[08-11]", ["n08", "n09", "n10", "n11"]),
        ("n[9-10]", ["n9", "n10"]),
        ("n[1,03]", ["n1", "n03"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("r[1-2]-x", ["r1-x", "r2-x"]),
        ("r[1-2]n[01-02]-ib,login", ["r1n01-ib", "r1n02-ib", "r2n01-ib", "r2n02-ib", "login"]),
        ("a[5-5]", ["a5"]),
    ],
)
def test_a_node_list_is_expanded_in_order(nodes: str, names: list[str]) -> None:
    assert srun.expand_nodes(nodes) == names


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), min_size=1, max_size=4), st.integers(1, 4))
def test_every_name_of_a_padded_list_is_there(spans: list[tuple[int, int]], width: int) -> None:
    text = ",".join(f"{low:0{width}d}-{low + more:0{width}d}" for low, more in spans)
    expected = [f"n{number:0{width}d}" for low, more in spans for number in range(low, low + more + 1)]
    assert srun.expand_nodes(f"n[{text}]") == expected


Script = Callable[..., str]


def test_oci_conf_gives_sruns_path_and_arguments(script: Script) -> None:
    path = script("")
    assert srun.srun_command({"SrunPath": path, "SrunArgs": ["--a", "--b=c d"]}, {}) == [path, "--a", "--b=c d"]


def test_srun_is_found_on_the_path(script: Script, tmp_path: Path) -> None:
    path = script("")
    assert srun.srun_command({}, {"PATH": f"/nosuch::{tmp_path}"}) == [path]


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"SrunPath": "/nosuch/srun"}, "at /nosuch/srun, where oci.conf's SrunPath"), ({}, "on PATH")],
)
def test_a_missing_srun_says_where_it_was_sought(settings: dict[str, str], words: str) -> None:
    with pytest.raises(SlurmMissing, match=words):
        srun.srun_command(settings, {"PATH": "/nosuch"})


HEAD = """\
srun: defined options
srun: -------------------- --------------------
srun: nodes               : 1
srun: verbose             : 1
srun: -------------------- --------------------
srun: end of defined options
srun: JobId=87 returned by the controller
srun: Nodes node1 are ready for job
srun: jobid 87: nodes(1):`node1', cpu counts: 1(x1)
srun: CpuBindType=(null type)
"""
RUNS = f"""{HEAD}\
srun: launching StepId=87.12 on host node1, 1 tasks: 0
srun: Node node1, 1 tasks started
"""

# transcript: step, started, cancelled, errors
TRANSCRIPTS: dict[str, tuple[str, str, bool, bool, list[str]]] = {
    "orderly": (
        f"""{RUNS}\
srun: Received task exit notification for 1 task of StepId=87.12 (status=0x0000).
srun: node1: task 0: Completed
""",
        *("12", True, False, []),
    ),
    "exits 7 on both nodes": (
        f"""{HEAD}\
srun: launching StepId=86.0 on host node1, 1 tasks: 0
srun: launching StepId=86.0 on host node2, 1 tasks: 1
srun: Node node2, 1 tasks started
srun: Received task exit notification for 1 task of StepId=86.0 (status=0x0700).
srun: error: node2: task 1: Exited with exit code 7
srun: Node node1, 1 tasks started
srun: Received task exit notification for 1 task of StepId=86.0 (status=0x0700).
srun: error: node1: task 0: Exited with exit code 7
""",
        *("0", True, False, ["node2: task 1: Exited with exit code 7", "node1: task 0: Exited with exit code 7"]),
    ),
    "scancel of the job, the container exits 0 on SIGTERM": (
        f"""{RUNS}\
srun: Complete JobId=6 SLUID=s3C5M81Q8B8R00 StepId=6.0 received
srun: Job step aborted: Waiting up to 32 seconds for job step to finish.
srun: Received task exit notification for 1 task of StepId=6.0 (status=0x0000).
srun: node1: task 0: Completed
""",
        *("12", True, True, []),
    ),
    "scancel of the step": (
        f"""{RUNS}\
srun: Complete JobId=100 SLUID=sBXSM81Q6NZY00 StepId=100.0 received
srun: Complete JobId=100 SLUID=sBXSM81Q6NZY00 StepId=100.0 received
srun: Job step aborted: Waiting up to 32 seconds for job step to finish.
srun: Received task exit notification for 1 task of StepId=100.0 (status=0x0009).
srun: error: node1: task 0: Killed
""",
        *("12", True, True, ["node1: task 0: Killed"]),
    ),
    "the container was killed": (
        f"""{RUNS}\
srun: Received task exit notification for 1 task of StepId=87.12 (status=0x0009).
srun: error: node1: task 0: Killed
srun: Force Terminated StepId=87.12
""",
        *("12", True, False, ["node1: task 0: Killed"]),
    ),
    "the bundle is not on the node": (
        f"""{HEAD}\
srun: launching StepId=89.0 on host node1, 1 tasks: 0
srun: error: Task launch for StepId=89.0 failed on node node1: Unspecified error
srun: error: Application launch failed: Unspecified error
srun: Job step aborted
""",
        *("0", False, True),
        [
            "Task launch for StepId=89.0 failed on node node1: Unspecified error",
            "Application launch failed: Unspecified error",
        ],
    ),
    "no such job": (
        """\
srun: error: Unable to confirm allocation for job 1: Invalid job id specified
srun: Check SLURM_JOB_ID environment variable. Expired or invalid job 1
""",
        *("", False, False, ["Unable to confirm allocation for job 1: Invalid job id specified"]),
    ),
    "our own word for an srun that is no program": (
        "srun: fatal: can't execute /nosuch: No such file or directory\n",
        *("", False, False, ["can't execute /nosuch: No such file or directory"]),
    ),
    "nothing": ("", "", False, False, []),
    "unexpected": (
        "\nsrun: \nsrun: launching something\nNode is down\n[2026] error: execve(): x\n",
        "",
        False,
        False,
        [],
    ),
}


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_what_srun_says_of_a_step_is_understood(name: str) -> None:
    text, step, started, cancelled, errors = TRANSCRIPTS[name]
    progress = srun.Progress()
    failed = [words for line in text.splitlines() if (words := progress.line(line))]
    heard = [*progress.errors, *(words for words in failed if words not in progress.errors)]
    assert (progress.step, progress.started, bool(progress.cancelled), heard) == (step, started, cancelled, errors)


def test_a_started_step_keeps_no_errors() -> None:
    progress = _after(*RUNS.replace("srun: ", "").splitlines(), "error: something", "error: node1: task 0: Killed")
    assert progress.errors == []


def _after(*lines: str) -> srun.Progress:
    progress = srun.Progress()
    for line in lines:
        progress.line(f"srun: {line}")
    return progress


LAUNCHED = (
    "launching StepId=15.0 on host node1, 4 tasks: [0,2-4]",
    "launching StepId=15.0 on host node2, 1 tasks: 1",
)


def test_the_launch_tells_each_tasks_node() -> None:
    progress = _after(*LAUNCHED)
    assert progress.tasks == {"node1": [0, 2, 3, 4], "node2": [1]}
    assert (progress.step, progress.count) == ("0", 5)
    assert (progress.count, progress.most_on_a_node()) == (5, 4)
    assert progress.left() == {"node1": [0, 1, 2, 3], "node2": [0]}


def test_it_has_started_when_the_last_node_has() -> None:
    assert not _after(*LAUNCHED, "Node node1, 4 tasks started").started
    assert _after(*LAUNCHED, "Node node1, 4 tasks started", "Node node2, 1 tasks started").started


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("node1: task 0: Completed", {"node1": [1, 2, 3], "node2": [0]}),
        ("node1: tasks 0,3-4: Completed", {"node1": [1], "node2": [0]}),
        ("error: node2: task 1: Exited with exit code 7", {"node1": [0, 1, 2, 3]}),
        ("error: node1: tasks 2-4: Terminated", {"node1": [0], "node2": [0]}),
        ("error: node[1-2]: tasks 0-4: Killed", {}),
        ("error: node2: task 1: Segmentation fault (core dumped)", {"node1": [0, 1, 2, 3]}),
    ],
)
def test_what_has_ended_gets_no_more_signals(line: str, left: dict[str, list[int]]) -> None:
    assert _after(*LAUNCHED, line).left() == left


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("srun: error: node2: task 1: Exited with exit code 7", "node2: task 1: Exited with exit code 7"),
        ("srun: error: node1: tasks 0-1: Killed", "node1: tasks 0-1: Killed"),
        ("srun: node1: task 0: Completed", ""),
        ("srun: error: Unable to create step: x: y", ""),
        ("srun: Node node1, 1 tasks started", ""),
    ],
)
def test_lines_about_failed_tasks_are_told_from_others(line: str, said: str) -> None:
    progress = _after(
        "launching StepId=1.0 on host node1, 2 tasks: 0-1", "launching StepId=1.0 on host node2, 1 tasks: 1"
    )
    assert progress.line(line) == said


STRANGE = [
    *("copy: task done: ok", "node1: task 0", "node1: task : Completed", "node1: tasks 0-: x", "node1: task -1: x"),
    *("node1: task 9: Completed", "node2: task 0: Completed", "node3: task 0: Completed", "node1: task 0: "),
    *("node1: tasks 0-999999999: Completed", "node1: tasks 0-99999999999999999999: x", "node1: task \u0663: Completed"),
    *("error: copy: task done: ok", "error: node1: task 1: Killed", "fatal: a: tasks b: c", "node[: task x: y"),
    *("launching StepId=15.0 on host node9, 2 tasks: 7", "launching StepId= on host , 1 tasks: 0"),
    *(
        "launching StepId=15.0 on host node9, x tasks: [",
        "launching StepId=15.0 on host node9, 1 tasks: 0-",
        "launching",
    ),
    *("Node", "Node started", "Node node9, 1 tasks started", "Node node1, started", "Job step", ""),
]


@pytest.mark.parametrize("line", STRANGE)
@pytest.mark.parametrize("prefix", ["srun: ", ""])
def test_a_line_that_is_not_sruns_means_nothing(line: str, prefix: str) -> None:
    progress = _after(*LAUNCHED)
    before = _state(progress)
    assert progress.line(prefix + line) == ""
    assert _state(progress) == before


def _state(progress: srun.Progress) -> tuple[object, ...]:
    return progress.step, dict(progress.tasks), {*progress.ended}, progress.cancelled, progress.started, progress.left()


def test_a_prologs_words_are_not_taken_for_sruns() -> None:
    said = ("launching StepId=1.7 on host copy, 1 tasks: 0", "copy: task 0: ok", "Job step aborted")
    progress = _after(*said, *LAUNCHED, "Node node1, 4 tasks started", "Node node2, 1 tasks started")
    assert (progress.step, progress.started, [*progress.tasks]) == ("0", True, ["node1", "node2"])
    progress.line("srun: launching StepId=15.1 on host node7, 1 tasks: 0")
    assert (progress.step, [*progress.tasks]) == ("0", ["node1", "node2"])


PIECES = st.sampled_from([*" ,:-[]0123456789\x00\n", "srun: ", "error: ", "launching StepId=", " on host ", " tasks: "])
WORDS = st.sampled_from(["node1", "task ", "tasks ", "Node ", " started", "Job step aborted", "15.0", "Completed", "²"])


@given(st.lists(st.lists(PIECES | WORDS | st.text(max_size=3), max_size=12).map("".join), max_size=30))
def test_no_line_of_srun_is_misread(lines: list[str]) -> None:
    progress = srun.Progress()
    for line in lines:
        progress.line(line)
        progress.line(f"srun: {line}")
        assert progress.ended <= {task for tasks in progress.tasks.values() for task in tasks}
        assert progress.left().keys() <= progress.tasks.keys()
        assert isinstance(progress.started, bool)


HET = {
    "SLURM_JOB_ID": "109",
    "SLURM_HET_SIZE": "2",
    "SLURM_JOB_ID_HET_GROUP_0": "109",
    "SLURM_JOB_ID_HET_GROUP_1": "110",
}


@pytest.mark.parametrize(
    ("job", "environment", "words"),
    [
        (109, HET, ["--het-group=0"]),
        (111, HET, []),
        ({"name": "scrun"}, HET, []),
        (109, {"SLURM_JOB_ID": "109"}, []),
        (109, {}, []),
    ],
)
def test_srun_is_told_the_heterogeneous_jobs_component(
    job: object, environment: dict[str, str], words: list[str]
) -> None:
    assert srun.component(job, environment) == words


def test_another_component_than_the_first_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"job 110 is component 1 of the heterogeneous job 109: .*use SLURM_JOB_ID=109"
    ):
        srun.component(110, HET)
