"""A config written for the login node becomes one that the compute node's OCI runtime can run."""

from __future__ import annotations

import copy
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundle_samples import CONFIGS, as_root, changed, engine, kinds, minimal

from scrun.bundle import adapt_process, agents, config
from scrun.bundle.adapt import adapt

JOBS: list[Any] = [
    {"uid": 2000, "gid": 2001},
    {"uid": 2000, "gid": 2001, "keep_user": False},
    {"uid": 0, "gid": 0},
]
CASES = [
    pytest.param(path, job, id=f"{path.stem}-{name}")
    for path in CONFIGS
    for name, job in zip(("crun", "runc", "root"), JOBS, strict=True)
    if job["uid"] or "keep-id" not in path.stem  # which root's podman doesn't know
]


@pytest.mark.parametrize(("path", "job"), CASES)
def test_adapting_is_idempotent_and_leaves_its_input_alone(path: Path, job: Any) -> None:
    value = config.load_text(path.read_text(), path.name)
    before = copy.deepcopy(value)
    once = adapt(value, **job, note=lambda line: None)
    assert value == before
    again: list[str] = []
    assert adapt(once, **job, note=again.append, engine=value) == once
    assert again == []


@pytest.mark.parametrize(("path", "job"), CASES)
def test_an_adapted_config_is_valid(path: Path, job: Any) -> None:
    notes: list[str] = []
    adapted = adapt(config.load_text(path.read_text(), path.name), **job, note=notes.append)
    config.check_config(adapted)
    assert all(line and "\n" not in line for line in notes)
    assert "hooks" not in adapted
    assert not {"cgroupsPath", "resources", "mountLabel"} & adapted["linux"].keys()
    assert not any("path" in namespace for namespace in adapted["linux"]["namespaces"])
    assert "apparmorProfile" not in adapted["process"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_unprivileged_job_maps_exactly_the_containers_user(path: Path) -> None:
    value = config.load_text(path.read_text(), path.name)
    linux = adapt(value, uid=2000, gid=2001, note=lambda line: None)["linux"]
    user = value["process"]["user"]
    assert linux["uidMappings"] == [{"containerID": user["uid"], "hostID": 2000, "size": 1}]
    assert linux["gidMappings"] == [{"containerID": user["gid"], "hostID": 2001, "size": 1}]
    assert [n["type"] for n in linux["namespaces"]].count("user") == 1


def test_plain_config_only_gains_a_user_namespace() -> None:
    value = minimal()
    adapted, notes = changed(value)
    assert notes == []
    del adapted["linux"]["uidMappings"], adapted["linux"]["gidMappings"]
    value["linux"]["namespaces"].append({"type": "user"})
    assert adapted == value
    assert as_root(minimal()) == (minimal(), [])


def test_a_config_without_a_linux_section_gets_one() -> None:
    value = minimal()
    del value["linux"], value["mounts"]
    adapted, _ = changed(value)
    assert kinds(adapted) == ["mount", "user"]
    assert "mounts" not in adapted


GONE: list[tuple[str, Callable[[Any], Any], str]] = [
    ("process.apparmorProfile", lambda c: c["process"].update(apparmorProfile="docker-default"), "docker-default"),
    ("process.selinuxLabel", lambda c: c["process"].update(selinuxLabel="a:b:c"), "a:b:c"),
    ("linux.mountLabel", lambda c: c["linux"].update(mountLabel="a:b:c"), "a:b:c"),
    ("linux.cgroupsPath", lambda c: c["linux"].update(cgroupsPath="/docker/x"), "the job has its own cgroup"),
    ("linux.resources", lambda c: c["linux"].update(resources={"memory": {}, "cpu": {}}), "(memory, cpu) left out"),
    ("linux.intelRdt", lambda c: c["linux"].update(intelRdt={"closID": "x"}), "hardware"),
    ("linux.memoryPolicy", lambda c: c["linux"].update(memoryPolicy={"mode": "MPOL_BIND"}), "hardware"),
    ("linux.netDevices", lambda c: c["linux"].update(netDevices={"eth0": {}}), "(eth0)"),
    ("linux.timeOffsets", lambda c: c["linux"].update(timeOffsets={"boottime": {"secs": 1}}), "no time namespace"),
]

GONE_UNPRIVILEGED: list[tuple[str, Callable[[Any], Any], str]] = [
    ("process.rlimits", lambda c: c["process"].update(rlimits=[{"type": "RLIMIT_NOFILE"}]), "RLIMIT_NOFILE"),
    ("process.oomScoreAdj", lambda c: c["process"].update(oomScoreAdj=0), "oomScoreAdj 0"),
    ("process.scheduler", lambda c: c["process"].update(scheduler={"policy": "SCHED_FIFO"}), "SCHED_FIFO"),
    (
        "process.scheduler",
        lambda c: c["process"].update(scheduler={"policy": "SCHED_OTHER", "nice": -1}),
        "SCHED_OTHER",
    ),
    ("process.ioPriority", lambda c: c["process"].update(ioPriority={"class": "IOPRIO_CLASS_RT"}), "IOPRIO_CLASS_RT"),
]


@pytest.mark.parametrize(("place", "ask", "said"), GONE + GONE_UNPRIVILEGED)
def test_unprivileged_job_drops_and_notes_impossible_requests(place: str, ask: Callable[[Any], Any], said: str) -> None:
    value = minimal()
    ask(value)
    adapted, notes = changed(value)
    section, key = place.split(".")
    assert key not in adapted[section]
    assert len(notes) == 1
    assert said in notes[0]


@pytest.mark.parametrize(("place", "ask", "said"), GONE)
def test_root_job_drops_what_no_job_can_have(place: str, ask: Callable[[Any], Any], said: str) -> None:
    value = minimal()
    ask(value)
    adapted, notes = as_root(value)
    assert adapted == minimal()
    assert len(notes) == 1
    assert said in notes[0]


@pytest.mark.parametrize(("place", "ask", "said"), GONE_UNPRIVILEGED)
def test_what_takes_privilege_stays_for_root_s_job(place: str, ask: Callable[[Any], Any], said: str) -> None:
    value = minimal()
    ask(value)
    assert as_root(value) == (value, [])


def test_malformed_variables_are_dropped_for_root_too() -> None:
    value = minimal()
    value["process"]["env"] = ["A=b", "=x", "NOTHING", "", "EMPTY="]
    for job in JOBS:
        notes: list[str] = []
        assert adapt(value, **job, note=notes.append)["process"]["env"] == ["A=b", "EMPTY="]
        assert [line for line in notes if "process.env" in line] == [
            "process.env: 3 left out that have no name or no '='"
        ]


def test_limit_below_the_users_own_stays() -> None:
    value = minimal()
    low = {"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}
    value["process"]["rlimits"] = [low, {"type": "RLIMIT_NPROC", "soft": 1 << 22, "hard": 1 << 22}]
    adapted, notes = changed(value)
    assert adapted["process"]["rlimits"] == [low]
    assert notes == ["RLIMIT_NPROC left out: an unprivileged job can't raise its limits, and has Slurm's"]


def test_higher_oom_score_needs_no_privilege() -> None:
    value = minimal()
    value["process"]["oomScoreAdj"] = 100
    adapted, notes = changed(value)
    assert adapted["process"]["oomScoreAdj"] == 100
    assert notes == []


def test_priorities_that_need_no_privilege_stay() -> None:
    value = minimal()
    value["process"] |= {
        "scheduler": {"policy": "SCHED_BATCH", "nice": 5},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "capabilities": {"bounding": ["CAP_KILL"]},
        "consoleSize": {"height": 1, "width": 1},
        "terminal": True,
    }
    value["process"]["user"]["umask"] = 18
    value["linux"] |= {
        "personality": {"domain": "LINUX32"},
        "rootfsPropagation": "rslave",
        "maskedPaths": ["/proc/kcore"],
    }
    value["annotations"] = {"a": "b"}
    adapted, notes = changed(value)
    assert notes == []
    assert adapted["process"] == value["process"]
    assert {key: adapted["linux"][key] for key in ("personality", "rootfsPropagation", "maskedPaths")} == {
        key: value["linux"][key] for key in ("personality", "rootfsPropagation", "maskedPaths")
    }
    assert adapted["annotations"] == {"a": "b"}


def test_every_kind_of_hook_is_dropped_and_named() -> None:
    value = minimal()
    value["hooks"] = {kind: [{"path": f"/{kind}"}] for kind in ("prestart", "createRuntime", "poststop")} | {"x": []}
    adapted, notes = changed(value)
    assert "hooks" not in adapted
    assert [note.split(" left")[0] for note in notes] == [
        "prestart hooks (/prestart)",
        "createRuntime hooks (/createRuntime)",
        "poststop hooks (/poststop)",
    ]


def test_seccomp_without_a_listener_stays_as_it_is() -> None:
    value = engine("docker-28")
    assert changed(value)[0]["linux"]["seccomp"] == value["linux"]["seccomp"]


def test_listener_rule_answers_as_the_kernel_without_listener() -> None:
    notify = {"names": ["mount", "bpf"], "action": "SCMP_ACT_NOTIFY"}
    other = {"names": ["chown"], "action": "SCMP_ACT_LOG"}
    adapted, notes = changed(
        minimal(
            seccomp={
                "defaultAction": "SCMP_ACT_ALLOW",
                "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
                "listenerPath": "/run/agent",
                "listenerMetadata": "m",
                "syscalls": [notify, other],
            }
        )
    )
    assert adapted["linux"]["seccomp"] == {
        "defaultAction": "SCMP_ACT_ALLOW",
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [{"names": ["mount", "bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}, other],
    }
    assert len(notes) == 3
    assert "seccomp rule for mount, bpf answers ENOSYS" in notes[1]


def test_a_listeners_default_action_becomes_enosys() -> None:
    adapted, notes = changed(minimal(seccomp={"defaultAction": "SCMP_ACT_NOTIFY"}))
    assert adapted["linux"]["seccomp"] == {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38}
    assert len(notes) == 1


def test_limits_have_the_kernels_numbers() -> None:
    numbers = {name: getattr(resource, name) for name in adapt_process.LIMITS if hasattr(resource, name)}
    assert len(numbers) >= 15
    assert {name: adapt_process.LIMITS.index(name) for name in numbers} == numbers


def test_the_agent_sets_soft_limits_below_hard_ones() -> None:
    most, own = (1 << 64) - 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    value = minimal()
    value["process"]["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 10, "hard": own if own > 0 else most},
        {"type": "RLIMIT_NPROC", "soft": most, "hard": most},  # podman's default
        {"type": "RLIMIT_CORE", "soft": most, "hard": most},
        {"type": "RLIMIT_FSIZE", "soft": 10, "hard": 20},
    ]
    soft = [(resource.RLIMIT_NOFILE, 10, None), (resource.RLIMIT_CORE, most, None)]
    both = [(resource.RLIMIT_FSIZE, 10, 20)]
    assert adapt_process.agent_limits(changed(value)[0], value, uid=2000) == soft + both
    assert [limit[1:] for limit in adapt_process.agent_limits(value, value, uid=0)] == [
        (10, own if own > 0 else most),
        (most, most),
        (most, most),
        (10, 20),
    ]


def test_the_runtime_sets_no_limit_beside_an_agent() -> None:
    value = minimal()
    value["process"]["rlimits"] = [{"type": "RLIMIT_FSIZE", "soft": 10, "hard": 20}]
    assert "rlimits" not in agents.adapted(value, "/bundle", agents.Place("/dev/.scrun"))["process"]
    assert value["process"]["rlimits"]


def test_podmans_default_limit_is_not_the_users() -> None:
    value = minimal()
    own = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    highest = 1 << 20 if own == resource.RLIM_INFINITY else min(own, 1 << 20)
    value["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": highest, "hard": highest}]
    assert "rlimits" not in changed(value)[0]["process"]
