"""The worker that stages: what it tells staging of the job, beside what the site's script says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_lifecycle_allocate import ASKED, GRANTED, Message, Slurm
from test_staging_node import FakeStep, bundle, make_container, needs_mounts, on_node
from unchecked import anything

import scrun.slurm
from scrun.errors import JobRefused, ScrunError, SlurmError
from scrun.lifecycle.container import network
from scrun.lifecycle.container.directory import Container
from scrun.lifecycle.process import wire
from scrun.lifecycle.worker import ending, prepare
from scrun.lifecycle.worker.host import Host
from scrun.lifecycle.worker.stage_in_call import StageIn, _is_writable
from scrun.lua_hooks import Paths, StageInCall
from scrun.staging.known import Known
from scrun.staging.layers import Layers

__all__ = ["bundle"]

pytestmark = needs_mounts


class Hooks:
    """A script that has all staged, in directories of the test's."""

    def __init__(self, host: Host, options: dict[str, Any]) -> None:
        self._host, self._options = host, options

    def stage_in(self, call: StageInCall) -> Paths:
        self._host.stage_in(self._options)
        return Paths(call.bundle, None)


def _can_overlay(directory: Path) -> bool:
    """Whether this machine mounts an overlay for this user."""
    for name in ("lower", "upper", "work", "at"):
        (directory / name).mkdir()
    layers = "userxattr,lowerdir=lower,upperdir=upper,workdir=work"
    argv = ["unshare", "-m" if os.geteuid() == 0 else "-rm", "mount", "-t", "overlay", "-o", layers, "none", "at"]
    return subprocess.run(argv, cwd=directory, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("mounts", "tasks", "nodes", "readonly", "overlay"),
    [
        (True, 1, ["node1"], False, True),
        (True, 1, ["node1"], True, True),
        (True, 2, ["node1", "node2"], False, True),
        (True, 2, ["node1"], False, False),  # both would write into one upper directory
        (False, 1, ["node1"], False, False),  # crun 1.21, or runc
    ],
)
def test_a_container_runs_over_an_image_if_possible(
    mounts: bool,
    tasks: int,
    nodes: list[str],
    readonly: bool,
    overlay: bool,
    tmp_path: Path,
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    (tmp_path / "probe").mkdir()
    if overlay and not _can_overlay(tmp_path / "probe"):
        pytest.skip("no overlays for this user")
    step = FakeStep(tmp_path, nodes=nodes, hidden=[bundle])
    request.addfinalizer(step.end_standing)
    described = make_container(bundle, step, readonly=readonly)
    (bundle / "upper").mkdir()
    layers = Layers((f"{bundle}/rootfs",), f"{bundle}/upper", "user." if os.getuid() else "trusted.")
    monkeypatch.setattr("scrun.staging.stage_in.find_layers", lambda _rootfs, _mounts: layers)
    host = Host(lambda _level, _text: None)
    host.job = step  # type: ignore[assignment]
    (tmp_path / "memory").mkdir()
    host.memory = str(tmp_path / "memory" / ".seen")
    record = {
        "id": "web",
        "bundle": str(bundle),
        "rootfs": described.rootfs,
        "job": 7,
        "tasks": tasks,
        "slurm": [26, 5],
    }
    record |= {"uid": os.getuid(), "gid": os.getgid(), "job_environment": [], "user": "me", "command": ["sh"]}
    runtime = tmp_path / "runtime"
    runtime.write_text(f"""#!/bin/sh
echo "$SLURMD_NODENAME $*" >>{tmp_path}/calls
[ "$1" != create ] || grep -q '"destination": *"/"' config.json && [ {mounts} = True ]
""")
    runtime.chmod(0o755)
    record["runtime"] = {"kind": "other", "command": str(runtime), "name": "x"}
    plan = {
        "network": network.HOST,
        "otherwise": "",
        "network_of": "",
        "host_name": "",
        "gateways": [],
        "spool_mounts": ["/var/spool", ""],
        "spool_dir": "",
        "config_file": "",
        "mounted": {},
        "mpi": False,
    }
    connection: Any = {"settings": "key 00\n", "port": 1, "why": ""}
    options = {"node_dir": str(step.node_dir), "cache_dir": str(step.node_dir)}

    def stage() -> None:
        hooks: Any = Hooks(host, options)
        StageIn(hooks, host, record, plan, described.config, connection, keeps_apart=False).run()  # type: ignore[arg-type]

    stage()

    def runs_over_it() -> set[bool]:
        found = set()
        for node in nodes:
            config = json.loads((on_node(step, node) / "config.json").read_text())
            over = [mount["options"] for mount in config["mounts"] if mount["type"] == "overlay"]
            assert not over or ("ro" in over[0]) == readonly
            found.add(bool(over))
        return found

    assert runs_over_it() == {overlay}
    calls = (tmp_path / "calls").read_text().split("\n") if tasks <= len(nodes) else []
    assert sorted({call.partition(" create")[0] for call in calls if " create" in call}) == (nodes if calls else [])
    for _ in range(2):  # what was found is remembered
        stage()
        assert runs_over_it() == {overlay}
    assert not calls or (tmp_path / "calls").read_text().split("\n") == calls


@pytest.mark.parametrize(
    ("otherwise", "remark"),
    [
        (network.NODE, "the container uses its node's network, and not the engine's: the reason"),
        (network.NONE, "the container has no network, and not the engine's: the reason"),  # an internal one of podman's
    ],
)
def test_who_lacks_the_engines_network_is_told_why(otherwise: str, remark: str) -> None:
    plan: Any = {"network": network.ENGINE, "otherwise": otherwise}
    record: Any = {"uid": 0, "gid": 0, "job_environment": []}
    none: Any = types.SimpleNamespace(why="", steps=None, log=lambda _level, _text: None)
    call = StageIn(none, none, record, plan, none, {"settings": "", "port": 0, "why": "the reason"}, keeps_apart=False)
    call._settle_network()
    assert (call._network, call._remark) == (otherwise, remark)


@pytest.fixture
def serves(
    fork: Callable[..., int], exit_code: Callable[[int], int], container: Container, tmp_path: Path
) -> Callable[..., list[Message]]:
    """What a worker says, for a script and a Slurm that the test plays, until its hook would be called."""

    def run(script: str, slurm: Slurm, asked: Message = ASKED) -> list[Message]:
        (tmp_path / "scrun.lua").write_text(script)
        (tmp_path / "config.json").write_text('{"ociVersion": "1.0.2", "root": {"path": "rootfs"}}')
        staging = {"config_file": str(tmp_path / "config.json"), "task_programs": False, "env_exclude": []}
        here, there = wire.pair()

        def serve() -> None:
            os.close(here)
            sys.modules["scrun.slurm.allocation"] = sys.modules["scrun.slurm.control"] = slurm  # type: ignore[assignment]
            description: Any = types.SimpleNamespace(preload=lambda: None)
            sys.modules["scrun.slurm.description"] = description
            vars(scrun.slurm).update(allocation=slurm, control=slurm, description=description)
            from scrun.lifecycle.worker import allocate

            allocate.LONGEST_WAIT = 0.0
            try:
                prepare.serve(there, container)
            except ScrunError as error:
                wire.send(there, wire.failure(error))

        load = {"script": str(tmp_path / "scrun.lua"), "lua": "", "staging": staging, "bundle": str(tmp_path)}
        wire.send(here, load)
        wire.send(here, asked)  # as if the anchor knew already that the script is good
        pid = fork(serve)
        os.close(there)
        reader, said = wire.Reader(here), list[Message]()
        while (one := reader.next(anything)) and [*one] not in (["nodes"], ["still_queued"]):
            said.append(one)
        os.close(here)
        assert exit_code(pid) == 0
        return said + ([one] if one else [])

    return run


HOOKS = "function slurm_scrun_stage_in() end function slurm_scrun_stage_out() end "


def test_a_loaded_script_comes_before_the_job(serves: Callable[..., list[Message]]) -> None:
    loaded, job, nodes = serves(HOOKS, Slurm())
    assert ([*loaded], job, nodes["nodes"]["nodes"]) == (["loaded"], {"job": 7}, "n1")


def test_a_broken_script_costs_nobody_a_job(serves: Callable[..., list[Message]]) -> None:
    def ask() -> Message:
        raise AssertionError("a job was asked for")

    (said,) = serves(HOOKS + "error('by intent')", Slurm(request=ask))
    assert (said["error"], "by intent" in said["message"]) == ("HookError", True)


def test_a_queued_job_is_left_to_others(serves: Callable[..., list[Message]]) -> None:
    queued = {**GRANTED, "nodes": ""}
    said = serves(HOOKS, Slurm(request=queued, look_up=queued))
    assert said[1:] == [{"job": 7}, {"still_queued": True}]


def test_a_silent_slurmctld_ends_no_queued_job(serves: Callable[..., list[Message]]) -> None:
    def silent() -> Message:
        raise SlurmError("it is silent")

    said = serves(HOOKS, Slurm(look_up=silent), {**ASKED, "look_at": 7})
    assert said[1:] == [{"log": "info", "message": "it is silent: looking again later"}, {"still_queued": True}]


def test_a_queued_job_that_ended_is_told(serves: Callable[..., list[Message]]) -> None:
    def gone() -> Message:
        raise JobRefused("it was cancelled")

    said = serves(HOOKS, Slurm(look_up=gone), {**ASKED, "look_at": 7})
    assert said[1:] == [wire.failure(JobRefused("it was cancelled"))]


class Job:
    standing = None

    def __init__(self, did: list[str]) -> None:
        self._did = did

    def reap(self) -> None:
        self._did.append("reap")


@pytest.fixture
def stays(container: Container, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What a worker does that has staged: with a message for it, with nobody there, or with nothing said."""
    monkeypatch.setitem(sys.modules, "scrun.lifecycle.worker.release", types.SimpleNamespace())
    monkeypatch.setattr(prepare, "_LOOK_AGAIN", 0.01)
    monkeypatch.setattr(prepare, "STAY", 0)

    def run(message: dict[str, Any] | None, *, there: bool = True) -> list[str]:
        did: list[str] = []
        monkeypatch.setattr(ending, "stage_out_and_release", lambda message, *_: did.append(f"serve {message}"))
        here, anchor = wire.pair()
        if message:
            wire.send(anchor, message)
        if not there:
            os.close(anchor)
        prepare._stay(wire.Reader(here), here, container, Job(did))  # type: ignore[arg-type]
        os.close(here)
        if there:
            os.close(anchor)
        return did

    return run


@pytest.mark.parametrize("is_used", [True, False])
@pytest.mark.parametrize("expected", [True, False])
def test_a_step_is_begun_where_one_was_needed(
    expected: bool, is_used: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    step, host = FakeStep(tmp_path), Host(lambda _level, _text: None)
    request.addfinalizer(step.end_standing)
    host.memory = str(tmp_path / ".seen")
    if expected:
        Known(host.memory, None).learn_carries("before", "/bundles/before", ["node1"])
    had: list[bool] = []

    class Call:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def run(self) -> str:
            had.append(bool(step.early))
            if is_used and step.early:
                step.standing, step.early = step.early, None
            return "staged"

    monkeypatch.setattr("scrun.lifecycle.worker.stage_in_call.StageIn", Call)
    order: Any = {"record": {"id": "web", "bundle": "/bundles/web"}, "connection": None}
    arguments: Any = (None, host, step, order, {}, {})
    assert prepare._call_stage_in(*arguments, keeps_apart=False) == "staged"  # type: ignore[comparison-overlap]
    assert had == [expected]
    assert step.early is None
    assert Known(host.memory, None).carries("next", "/bundles/next", ["node1"]) == (expected and is_used)


def test_stage_out_runs_in_the_worker_that_staged(
    stays: Callable[..., list[str]],
) -> None:
    order: dict[str, Any] = {"script": "", "lua": "", "staging": {}, "record": {}}
    assert stays(order) == [f"serve {order}"]


def test_a_stager_leaves_with_the_anchor_finishing_nothing(stays: Callable[..., list[str]]) -> None:
    assert stays(None, there=False) == []


def test_a_worker_that_nobody_asks_goes(stays: Callable[..., list[str]]) -> None:
    assert stays(None) == []


def test_a_link_is_no_place_for_an_init(tmp_path: Path) -> None:
    """It may lead out of the root filesystem, so the place of an init is not looked for there."""
    assert _is_writable(str(tmp_path), "dev"), "the runtime makes it"
    (tmp_path / "dev").symlink_to("/tmp")
    assert not _is_writable(str(tmp_path), "dev")
    (tmp_path / "dev").unlink()
    (tmp_path / "dev").mkdir()
    assert _is_writable(str(tmp_path), "dev")
