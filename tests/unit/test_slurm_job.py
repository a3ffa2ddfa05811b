"""The job that a container asks for, or runs in: who may ask, who wins, what is refused or remarked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from scrun.errors import UsageError
from scrun.slurm import job, parsers, variables
from scrun.slurm.shared_job import SharedJob

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def asked(caller: dict[str, str], container: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """The new job's attributes and fields together."""
    described = job.request(caller, container or {}, **more).job["request"]
    return {**described["attributes"], **described["fields"]}


def test_an_undescribed_job_has_only_name_and_directory() -> None:
    found = asked({"PATH": "/bin", "SLURM_CONF": "/c"}, {"PATH": "/bin"}, directory="/work")
    assert found == {"name": "scrun", "working_directory": "/work", "min_cpus": 1}


@pytest.mark.parametrize("row", variables.TABLE, ids=lambda row: row.name)
def test_every_variable_reaches_the_job_or_srun(row: variables.Variable) -> None:
    value = SAMPLES.get(row.name, "1")
    found = job.request({f"SCRUN_{row.name}": value}, {})
    nothing = job.request({}, {})
    assert (found.job, found.step) != (nothing.job, nothing.step)
    if row.srun:
        assert row.srun in found.step


@pytest.mark.parametrize("row", variables.TABLE, ids=lambda row: row.name)
def test_in_an_existing_job_every_variable_counts_somewhere(row: variables.Variable) -> None:
    found = job.request({f"SCRUN_{row.name}": SAMPLES.get(row.name, "1"), "SLURM_JOB_ID": "7"}, {})
    told = set(found.step) - {"SLURM_OVERLAP"} or row.name == "OVERLAP"
    assert bool(told) != any(note.startswith(f"SCRUN_{row.name} has no effect") for note in found.notes)


# Where "1" is no value of that variable.
SAMPLES = {
    "CPU_FREQ_REQ": "low",
    "DISTRIBUTION": "cyclic",
    "EXCLUSIVE": "user",
    "GRES_FLAGS": "enforce-binding",
    "GRES": "gpu:1",
    "HINT": "nomultithread",
    "MEM_BIND": "local",
    "OPEN_MODE": "append",
    "PROFILE": "task",
    "SIGNAL": "USR1",
    "TRES_PER_TASK": "cpu=2",
}


def test_an_invalid_value_is_named_with_valid_ones() -> None:
    with pytest.raises(UsageError, match=r"^SCRUN_NTASKS='x' is not a whole number from 1$"):
        job.request({"SCRUN_NTASKS": "x"}, {})
    with pytest.raises(UsageError, match=r"^annotation slurm.nodes='x' is not a number of nodes, or a range such as"):
        job.request({}, {}, {"slurm.nodes": "x"})
    with pytest.raises(UsageError, match=r"^SCRUN_CREATE_TIMEOUT='-1' is not a whole number$"):
        job.request({"SCRUN_CREATE_TIMEOUT": "-1"}, {})
    with pytest.raises(UsageError, match=r"^SCRUN_RESOURCES='no' is not use or ignore$"):
        job.request({}, {"SCRUN_RESOURCES": "no"})


def test_annotations_override_container_and_caller_variables() -> None:
    caller = {"SCRUN_PARTITION": "a", "SCRUN_ACCOUNT": "a", "SCRUN_QOS": "a", "SCRUN_MPI_TYPE": "none"}
    container = {"SCRUN_PARTITION": "b", "SCRUN_ACCOUNT": "b", "SCRUN_MPI_TYPE": "pmix"}
    found = asked(caller, container, annotations={"slurm.partition": "c"})
    assert (found["partitions"], found["account"], found["qos"]) == ("c", "b", "a")
    assert job.request(caller, container).step == {"SLURM_MPI_TYPE": "pmix"}


def test_what_wins_may_say_it_in_another_way() -> None:
    caller = {"SCRUN_MEM_PER_NODE": "1G", "SCRUN_CORE_SPEC": "1"}
    found = asked(caller, {"SCRUN_MEM_PER_CPU": "50"}, annotations={"slurm.thread-spec": "2"})
    assert (found["pn_min_memory"], found["core_spec"]) == (50 | 1 << 63, 2 | 1 << 15)


@pytest.mark.parametrize(
    ("one", "other"),
    [("MEM_PER_NODE", "MEM_PER_CPU"), ("CPUS_PER_TASK", "CPUS_PER_GPU"), ("CORE_SPEC", "THREAD_SPEC")],
)
def test_conflicting_variables_are_refused(one: str, other: str) -> None:
    with pytest.raises(UsageError, match=f"^SCRUN_{one} and SCRUN_{other} exclude each other: set one of them$"):
        job.request({f"SCRUN_{name}": "1" for name in (one, other)}, {})


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("slurm.partition", "PARTITION"),
        ("slurm.time", "TIMELIMIT"),
        ("slurm.timelimit", "TIMELIMIT"),
        ("slurm.time-limit", "TIMELIMIT"),
        ("slurm.time_limit", "TIMELIMIT"),
        ("slurm.nodes", "JOB_NUM_NODES"),
        ("slurm.job-num-nodes", "JOB_NUM_NODES"),
        ("slurm.mem", "MEM_PER_NODE"),
        ("slurm.cpus-per-task", "CPUS_PER_TASK"),
        ("slurm.resources", "RESOURCES"),
        ("slurm.create-timeout", ""),
        ("slurm.colour", ""),
        ("org.slurm.partition", ""),
        ("partition", ""),
    ],
)
def test_annotations_are_variables_or_options_in_lower_case(key: str, name: str) -> None:
    assert variables.of_annotation(key) == name


def test_every_variable_has_annotations_by_both_names() -> None:
    for row in variables.TABLE:
        for word in (row.name.lower(), row.name.lower().replace("_", "-")):
            assert variables.of_annotation(f"slurm.{word}") == row.name
        assert variables.BY_NAME[variables.of_annotation(f"slurm.{row.option}")].option == row.option


def test_a_misspelled_name_is_noted_without_its_value() -> None:
    request = job.request(
        {"SCRUN_PARTITON": "secret", "SCRUN_ANYTHING_ELSE": "x", "SCRUN_PID": "1", "SCRUN_DEBUG": "info"},
        {"SCRUN_CPUS_PER_TASKS": "2"},
        {"slurm.partiton": "x", "slurm.colour": "red", "other": "x"},
    )
    assert request.notes == [
        "SCRUN_PARTITON is no variable of scrun's, and has no effect: is it SCRUN_PARTITION?",
        "SCRUN_CPUS_PER_TASKS is no variable of scrun's, and has no effect: is it SCRUN_CPUS_PER_TASK?",
        "annotation slurm.partiton is nothing that Slurm can be asked for, and has no effect: is it slurm.partition?",
        "annotation slurm.colour is nothing that Slurm can be asked for, and has no effect",
    ]


@pytest.mark.parametrize(
    ("limits", "said", "expected"),
    [
        ({"cpus": 2}, {}, {"cpus_per_task": 2}),
        ({"memory": 100}, {}, {"pn_min_memory": 100}),
        ({"gpus": 2}, {}, {"tres_per_node": "gres/gpu:2"}),
        ({"gpus": -1}, {}, {"tres_per_node": "gres/gpu:1", "shared": 0}),
        ({"cpus": 2}, {"CPUS_PER_TASK": "3"}, {"cpus_per_task": 3}),
        ({"memory": 100}, {"MEM_PER_CPU": "50"}, {"pn_min_memory": 50 | 1 << 63}),
        ({"gpus": -1}, {"GRES": "gpu:a100:1"}, {"tres_per_node": "gres/gpu:a100:1", "shared": None}),
        ({"cpus": 2, "memory": 100}, {"NTASKS": "1"}, {"pn_min_memory": 100}),
        ({"cpus": 3, "memory": 100}, {"NTASKS": "4"}, {"pn_min_memory": 34 | 1 << 63}),
        ({"cpus": 2, "memory": 100}, {"NTASKS": "4"}, {"pn_min_memory": 50 | 1 << 63, "min_cpus": 8}),
        (
            {"cpus": 2, "memory": 100, "gpus": 1},
            {"RESOURCES": "ignore"},
            {"cpus_per_task": None, "pn_min_memory": None},
        ),
    ],
)
def test_dockers_words_count_where_nothing_else_is_said(
    limits: dict[str, int], said: dict[str, str], expected: dict[str, Any]
) -> None:
    found = asked({f"SCRUN_{name}": value for name, value in said.items()}, limits=limits)
    assert {name: found.get(name) for name in expected} == expected


INSIDE = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "PATH": "/bin"}


@pytest.mark.parametrize(
    ("caller", "container", "found"),
    [
        ({"SLURM_JOB_ID": "7"}, {}, 7),
        ({}, {"SLURM_JOB_ID": "8"}, 8),
        ({"SLURM_JOB_ID": "7"}, {"SLURM_JOB_ID": "8"}, 8),
        ({"SLURM_JOB_ID": "7"}, {"SLURM_JOB_ID": ""}, 7),
    ],
)
def test_an_allocation_that_is_there_is_used(caller: dict[str, str], container: dict[str, str], found: int) -> None:
    assert job.request(caller, container).job["existing"] == found


def test_sallocs_variables_of_the_job_count() -> None:
    given = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1", "SLURM_NTASKS": "4"}
    assert job.request(INSIDE, {}).job["environment"] == given
    assert job.request(INSIDE, {"SLURM_JOB_ID": "8"}).job["environment"] == {}
    assert job.request({"SLURM_JOB_ID": "7"}, {}).job["environment"] == {}


def test_the_sharing_setting_is_always_checked() -> None:
    with pytest.raises(UsageError, match=r"^SCRUN_SHARE_JOB='maybe' is not yes or no"):
        job.request({}, {"SCRUN_SHARE_JOB": "maybe"})


def test_an_allocation_that_is_no_number_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^SLURM_JOB_ID='x' is not a whole number$"):
        job.request({"SLURM_JOB_ID": "x"}, {})


@pytest.mark.parametrize(
    ("said", "step"),
    [
        ({}, {"SLURM_OVERLAP": "1"}),
        ({"EXACT": "1"}, {"SLURM_EXACT": "1"}),
        ({"EXCLUSIVE": ""}, {"SLURM_EXCLUSIVE": ""}),
        ({"OVERLAP": "no"}, {}),
        (
            {"NTASKS": "2", "MEM_PER_NODE": "1G"},
            {"SLURM_NTASKS": "2", "SLURM_MEM_PER_NODE": "1024M", "SLURM_OVERLAP": "1"},
        ),
    ],
)
def test_steps_share_their_job_unless_told_otherwise(said: dict[str, str], step: dict[str, str]) -> None:
    assert job.request({**INSIDE, **{f"SCRUN_{name}": value for name, value in said.items()}}, {}).step == step


def test_inside_a_job_dockers_limits_shape_the_step() -> None:
    found = job.request(INSIDE, {}, limits={"cpus": 2, "memory": 100, "gpus": -1}).step
    assert found == {"SLURM_CPUS_PER_TASK": "2", "SLURM_MEM_PER_NODE": "100M", "SLURM_OVERLAP": "1"}


@pytest.mark.parametrize(("value", "patience"), [("0", 0), ("30", 30)])
def test_create_waits_as_long_as_it_is_told(value: str, patience: float) -> None:
    assert job.request({"SCRUN_CREATE_TIMEOUT": value}, {}).patience == patience


def test_switches_that_are_off_are_not_sruns() -> None:
    flags = [row.name for row in variables.TABLE if row.parse is parsers.flag and row.srun]
    assert job.request({f"SCRUN_{name}": "no" for name in flags}, {}).step == {}
    assert set(job.request({f"SCRUN_{name}": "" for name in flags}, {}).step.values()) == {"1"}


def test_the_document_has_the_tables_rows() -> None:
    pattern = r"^\| `SCRUN_(\w+)` \| `--([\w-]+)` \| (.*?) \| [\w, ]+ \| (\w+) \|$"
    rows = re.findall(pattern, DOCUMENT.read_text(), re.MULTILINE)
    assert rows == [(row.name, row.option, row.help.replace("|", "\\|"), row.who) for row in variables.TABLE]


def test_scruns_documented_variables_are_no_misspellings() -> None:
    document = DOCUMENT.read_text()
    named = set(re.findall(r"`SCRUN_(\w+)`", document[document.index("## scrun itself") :]))
    assert named == set(variables.OWN)
    who = dict(re.findall(r"^\| `SCRUN_(\w+)`.* \| (\w+) \|$", document, re.MULTILINE))
    assert {name: who.get(name, variables.CALLER) for name in variables.OWN} == variables.OWN


# Everything that names a program, a file or a directory of a host, or hides something from the caller or the site.
OF_THE_CALLER = {
    *(
        "ACCTG_FREQ",
        "BURST_BUFFER",
        "COMMENT",
        "EPILOG",
        "OPEN_MODE",
        "PROLOG",
        "REMOTE_CWD",
        "SLURMD_DEBUG",
        "TASK_EPILOG",
    ),
    *("TASK_PROLOG", "THREADS", "WORKING_DIR", "DEBUG", "FILE_DEBUG", "HISTORY", "LUA", "PYSLURM"),
    *("STDERR_DEBUG", "SYSLOG_DEBUG"),
}
NAMES = [row.name for row in variables.TABLE] + [*variables.OWN]


def test_only_listed_variables_are_the_callers_alone() -> None:
    assert {name for name in NAMES if variables.who_may_set(name) == variables.CALLER} == OF_THE_CALLER
    assert {variables.who_may_set(name) for name in NAMES} == {variables.CALLER, variables.ANYBODY}
    assert variables.who_may_set("PARTITON") == ""


@pytest.mark.parametrize("name", NAMES)
def test_a_container_sets_only_what_anybody_may(name: str) -> None:
    called, value = f"SCRUN_{name}", SAMPLES.get(name, "1")
    if variables.who_may_set(name) == variables.ANYBODY:
        if name in variables.BY_NAME:
            callers = job.request({called: value}, {})
            containers = job.request({}, {called: value})
            assert (callers.job, callers.step) == (containers.job, containers.step)
        return
    refusal = rf"^{called} is set in the container's environment: only .* may set {called}: "
    with pytest.raises(UsageError, match=refusal):
        job.request({}, {called: value})
    with pytest.raises(UsageError, match=refusal):
        job.request({called: "another"}, {called: value})
    callers, nobodys = job.request({called: value}, {}), job.request({}, {})
    handed_on = job.request({called: value}, {called: value})
    assert (handed_on.job, handed_on.step) == (callers.job, callers.step)
    taken_back = job.request({}, {called: ""})
    assert (taken_back.job, taken_back.step) == (nobodys.job, nobodys.step)


@pytest.mark.parametrize("row", variables.TABLE, ids=lambda row: row.name)
def test_annotations_set_what_anybody_may_and_no_more(row: variables.Variable) -> None:
    value = SAMPLES.get(row.name, "1")
    for word in (row.option, row.name.lower(), row.name.lower().replace("_", "-")):
        name = variables.of_annotation(f"slurm.{word}")
        if variables.who_may_set(name) == variables.CALLER:
            with pytest.raises(
                UsageError, match=rf"^annotation slurm.{word} is the container's: only .* may set SCRUN_"
            ):
                job.request({}, {}, {f"slurm.{word}": value})
        else:
            job.request({}, {}, {f"slurm.{word}": value})


@pytest.mark.parametrize("value", ["a\nb", "\x1b[2J", "a\0b", "\x7f"])
def test_a_container_sets_no_control_characters(value: str) -> None:
    with pytest.raises(UsageError, match=r"^SCRUN_JOB_NAME, .* has control characters in its value: leave them out$"):
        job.request({}, {"SCRUN_JOB_NAME": value})
    with pytest.raises(UsageError, match=r"^annotation slurm\.job-name, .* has control characters"):
        job.request({}, {}, {"slurm.job-name": value})


SHARED = SharedJob(7, "host", "network", {"PARTITION": "short", "CPUS_PER_TASK": "4"}, {"SLURM_JOB_NAME": "scrun"})


def test_a_guest_is_one_task() -> None:
    caller = {f"SCRUN_{row.name}": SAMPLES.get(row.name, "1") for row in variables.TABLE if row.field and not row.srun}
    del caller["SCRUN_MEM_PER_CPU"], caller["SCRUN_CORE_SPEC"]  # said in another way
    found = job.request(caller, {}, shared=SHARED)
    assert found.shares
    assert found.job["existing"] == 7
    assert found.job["environment"] == {"SLURM_JOB_NAME": "scrun"}
    assert found.step == {"SLURM_OVERLAP": "1", "SLURM_NTASKS": "1", "SLURM_NNODES": "1"}
    assert found.asked == SHARED.asked
    assert found.notes == ["the container runs in job 7 of container host, whose network namespace it shares"]


def test_in_a_shared_job_step_variables_count() -> None:
    found = job.request({"SCRUN_OPEN_MODE": "append"}, {"SCRUN_LABELIO": "1"}, shared=SHARED)
    assert found.shares
    assert {"SLURM_LABELIO", "SLURM_OPEN_MODE"} < found.step.keys()


@pytest.mark.parametrize(
    ("container", "annotations", "shares"),
    [
        ({}, {"slurm.partition": "short", "slurm.cpus-per-task": "4"}, True),
        ({}, {"slurm.partition": "debug"}, False),
        ({"SCRUN_GPUS": "1"}, {}, False),
        ({"SCRUN_NTASKS": "2"}, {}, False),
        ({"SCRUN_JOB_NAME": "mine"}, {}, True),  # says nothing of where or how much
        ({"SCRUN_SPREAD_JOB": "no"}, {}, True),
        ({"SCRUN_SHARE_JOB": "no"}, {}, False),
        ({"SCRUN_SHARE_JOB": "no"}, {"slurm.share-job": "yes"}, True),
        ({"SLURM_JOB_ID": "9"}, {}, False),
    ],
)
def test_a_container_wanting_another_job_has_its_own(
    container: dict[str, str], annotations: dict[str, str], shares: bool
) -> None:
    found = job.request({}, container, annotations, shared=SHARED)
    assert found.shares == shares
    assert found.job.get("existing") == (
        7 if shares else int(container["SLURM_JOB_ID"]) if "SLURM_JOB_ID" in container else None
    )


def test_limits_count_only_in_ones_own_job() -> None:
    shared = job.request({}, {}, limits={"cpus": 2, "memory": 100}, shared=SHARED)
    assert "SLURM_CPUS_PER_TASK" not in shared.step
    assert any(
        note.startswith("the container's limits (cpus, memory) have no effect: it runs in job 7")
        for note in shared.notes
    )
    assert not job.request({}, {}, limits={"cpus": 2}).notes


def test_what_a_job_was_asked_for_is_kept() -> None:
    found = job.request({"SCRUN_PARTITION": "a", "SCRUN_LABELIO": "1"}, {"SCRUN_PARTITION": "b", "SCRUN_GPUS": "2"})
    assert found.asked == {"PARTITION": "b", "GPUS": "2"}
