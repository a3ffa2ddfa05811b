"""docker's words for resources, as the engines write them into config.json."""

from __future__ import annotations

from typing import Any

import pytest
from bundle_samples import minimal

from scrun.bundle import container_limits
from scrun.bundle.adapt import adapt


def config(*, env: list[str] | None = None, hooks: Any = None, **linux: Any) -> Any:
    return {"process": {"env": env or []}, "hooks": hooks or {}, "linux": linux}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({}, {}),
        # docker 28.5 and podman 5.8 write these for --cpus 1.5, --cpu-quota 150000, --cpuset-cpus 0-1, --memory 100m.
        ({"cpu": {"quota": 150000, "period": 100000}}, {"cpus": 2}),
        ({"cpu": {"quota": 150000}}, {"cpus": 2}),
        ({"cpu": {"cpus": "0-1"}}, {"cpus": 2}),
        ({"memory": {"limit": 104857600, "swap": 209715200}}, {"memory": 100}),
        ({"cpu": {"shares": 512}}, {}),
        ({"cpu": {"quota": 400000, "period": 100000, "cpus": "0,2-3"}}, {"cpus": 3}),
        ({"cpu": {"quota": 10000, "period": 100000}}, {"cpus": 1}),
        ({"cpu": {"quota": -1}}, {}),
        ({"cpu": {"cpus": "some"}}, {}),
        ({"memory": {"limit": -1}}, {}),
        ({"memory": {"limit": 104857601}}, {"memory": 101}),
        ({"pids": {"limit": 2048}}, {}),
    ],
)
def test_limits_are_read(written: Any, expected: dict[str, int]) -> None:
    assert container_limits.limits(config(resources=written)) == expected


HOOK = {"prestart": [{"path": "/usr/bin/nvidia-container-runtime-hook"}]}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0,1", 2),
        ("0", 1),
        ("all", container_limits.ALL_GPUS),
        ("GPU-aaa,GPU-bbb", 2),
        ("none", 0),
        ("void", 0),
        ("", 0),
    ],
)
def test_dockers_gpus_are_its_hook_and_a_variable(value: str, expected: int) -> None:
    env = ["NVIDIA_VISIBLE_DEVICES=all", f"NVIDIA_VISIBLE_DEVICES={value}"]  # the image's own is overridden
    assert container_limits.limits(config(env=env, hooks=HOOK)).get("gpus", 0) == expected


def test_the_variable_alone_is_no_request() -> None:
    assert container_limits.limits(config(env=["NVIDIA_VISIBLE_DEVICES=all"])) == {}


def test_gpus_of_a_cdi_specification_are_device_nodes() -> None:
    paths = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidia1", "/dev/fuse"]
    hooks = {"createContainer": [{"path": "/usr/bin/nvidia-cdi-hook"}]}
    found = config(env=["NVIDIA_VISIBLE_DEVICES=void"], hooks=hooks, devices=[{"path": path} for path in paths])
    assert container_limits.limits(found) == {"gpus": 2}


def test_gpus_of_other_makers_are_their_render_nodes() -> None:
    paths = ["/dev/kfd", "/dev/dri/card0", "/dev/dri/renderD128", "/dev/dri/renderD129"]
    assert container_limits.limits(config(devices=[{"path": path} for path in paths])) == {"gpus": 2}


def test_gpus_become_those_that_the_job_was_given() -> None:
    devices = [{"path": path, "type": "c", "major": 195, "minor": 0} for path in ("/dev/nvidiactl", "/dev/nvidia0")]
    value = minimal(devices=devices)
    notes: list[str] = []
    adapted = adapt(value, uid=0, gid=0, note=notes.append, gpus=[2, 3])
    paths = [(device["path"], device["minor"]) for device in adapted["linux"]["devices"]]
    assert paths == [("/dev/nvidiactl", 0), ("/dev/nvidia2", 2), ("/dev/nvidia3", 3)]
    assert notes == ["/dev/nvidia0 becomes /dev/nvidia2, /dev/nvidia3: the job was given that"]
    assert adapt(adapted, uid=0, gid=0, note=notes.append, gpus=[2, 3]) == adapted


def test_gpus_stay_when_none_are_named_or_known() -> None:
    for value in (minimal(), minimal(devices=[{"path": "/dev/nvidia0", "type": "c", "major": 195, "minor": 0}])):
        assert adapt(value, uid=0, gid=0, note=lambda _text: None).get("linux") == value["linux"]
    assert "devices" not in adapt(minimal(), uid=0, gid=0, note=lambda _text: None, gpus=[1])["linux"]
